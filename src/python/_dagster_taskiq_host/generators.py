"""Random generators that were created while code was loaded.

Each newly started process draws its own numbers from a generator without a seed, and the same
numbers from one that the code seeded on purpose. Forked children and steps that share a process
behave alike: generators without a seed are seeded anew, the others restart at their state after
loading.

Generators of other libraries, and those invisible to the garbage collector, cannot be found.
"""

import contextlib
import random
import sys
from collections.abc import Iterator
from typing import Any

from . import cpython

OWN_ENTROPY = 2**64
"""NumPy draws 128 bits without a seed: a smaller one was chosen by the code."""

TORCH_SEED = 2**32
"""PyTorch draws 53 bits without a seed."""


class Generators:
    """The generators, and the state of those that were seeded on purpose."""

    def __init__(self) -> None:
        self._seeded: dict[int, tuple[Any, bool]] = {}
        """By id: the generator (which keeps the id valid), and whether a seed was given."""
        self._found: list[tuple[Any, Any]] = []
        """Each with its state, or None if it has no seed."""
        self._torch_state: Any = None

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Records the generators of the standard library that are seeded in the block."""
        with cpython.watched_seeds(self._note):
            yield

    def _note(self, generator: Any, seed: Any) -> None:
        self._seeded[id(generator)] = (generator, seed is not None)

    def take(self, objects: list[Any]) -> None:
        """Remembers the generators among the objects in their current state."""
        for generator in (cpython.shared_random(), *objects):
            kind = type(generator)
            if issubclass(kind, random.Random) and not issubclass(kind, random.SystemRandom):
                given = self._seeded.get(id(generator), (None, False))[1]
                self._found.append((generator, generator.getstate() if given else None))
        self._seeded.clear()
        numpy = sys.modules.get("numpy.random")
        if numpy is not None:
            self._take_numpy(numpy, objects)
        torch = sys.modules.get("torch")
        if torch is not None and torch.initial_seed() < TORCH_SEED:
            self._torch_state = torch.get_rng_state()

    def _take_numpy(self, numpy: Any, objects: list[Any]) -> None:
        for generator in objects:
            kind = type(generator)
            if issubclass(kind, numpy.BitGenerator):
                # The older way of seeding leaves no sequence behind.
                sequence = generator.seed_seq
                entropy = getattr(sequence, "entropy", None)
                own = isinstance(entropy, int) and entropy >= OWN_ENTROPY
                self._found.append((generator, None if own else generator.state))
            elif issubclass(kind, numpy.RandomState) and generator._bit_generator.seed_seq is None:
                # It keeps the second half of a pair of normal numbers beside its bit generator.
                self._found.append((generator, generator.get_state(legacy=False)))

    def renew(self) -> None:
        """Resets them to their state in a process that has just loaded the code."""
        for generator, state in self._found:
            with contextlib.suppress(Exception):
                _renew(generator, state)
        torch = sys.modules.get("torch")
        if torch is not None:
            if self._torch_state is not None:
                torch.set_rng_state(self._torch_state)
            else:
                torch.seed()


def _renew(generator: Any, state: Any) -> None:
    if isinstance(generator, random.Random):
        if state is None:
            generator.seed()
        else:
            generator.setstate(state)
    elif hasattr(generator, "set_state"):
        generator.set_state(state)
    else:
        generator.state = type(generator)().state if state is None else state
