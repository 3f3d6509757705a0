"""What a soak does to its scene. Each fault is undone by itself, at once or after a time."""

import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from soak import processes
from soak.scene import VISIBILITY, Host, Scene

#: Seconds for which a frozen worker or host stands: longer than a lease.
FROZEN = (VISIBILITY + 3.0, 2.5 * VISIBILITY)
#: Seconds for which broker, database or a host are away.
AWAY = (0.5, 12.0)


@dataclass
class Faults:
    """Chooses faults by a seed, and remembers what is to be undone."""

    scene: Scene
    random: random.Random
    done: dict[str, int] = field(default_factory=dict)
    _later: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    def strike(self) -> str:
        """Do one fault; its name."""
        kinds: list[tuple[int, Callable[[], bool]]] = [
            (5, self.kill_task),
            (4, self.kill_step_host),
            (4, self.kill_worker),
            (3, self.stop_worker),
            (3, self.freeze_worker),
            (2, self.kill_machine),
            (2, self.freeze_machine),
            (2, self.crash_broker),
            (2, self.crash_database),
            (2, self.restart_database),
            (3, self.cancel_run),
            (2, self.reload_code),
        ]
        weights = [weight for weight, _ in kinds]
        while True:
            (_, fault) = self.random.choices(kinds, weights)[0]
            if fault():
                self.done[fault.__name__] = self.done.get(fault.__name__, 0) + 1
                return fault.__name__

    def undo_due(self) -> None:
        """Undo what has lasted long enough."""
        for item in [item for item in self._later if item[0] <= time.monotonic()]:
            self._later.remove(item)
            item[1]()

    def undo_all(self) -> None:
        """Undo all that is left."""
        while self._later:
            self._later.pop()[1]()

    def _after(self, span: tuple[float, float], undo: Callable[[], None]) -> None:
        self._later.append((time.monotonic() + self.random.uniform(*span), undo))

    def _host(self) -> Host | None:
        up = [host for host in self.scene.hosts if host.process is not None and not host.frozen]
        return self.random.choice(up) if up else None

    def _one(self, of: Callable[[int], list[processes.Process]], number: signal.Signals) -> bool:
        host = self._host()
        found = sorted(of(host.root), key=lambda process: process.pid) if host else []
        if not found:
            return False
        processes.send(self.random.choice(found).pid, number)
        return True

    def kill_task(self) -> bool:
        return self._one(processes.tasks, signal.SIGKILL)

    def kill_step_host(self) -> bool:
        return self._one(processes.step_hosts, signal.SIGKILL)

    def kill_worker(self) -> bool:
        return self._one(processes.workers, signal.SIGKILL)

    def stop_worker(self) -> bool:
        """In good order; its host starts it again."""
        return self._one(processes.workers, signal.SIGTERM)

    def freeze_worker(self) -> bool:
        """The binary alone: its Python processes go on."""
        host = self._host()
        found = processes.workers(host.root) if host else []
        if not found:
            return False
        pid = self.random.choice(found).pid
        processes.send(pid, signal.SIGSTOP)
        self._after(FROZEN, lambda: processes.send(pid, signal.SIGCONT))
        return True

    def kill_machine(self) -> bool:
        """A host loses its power, and comes back."""
        host = self._host()
        if host is None:
            return False
        host.kill()
        self._after(AWAY, host.start)
        return True

    def freeze_machine(self) -> bool:
        """A host stands still for longer than its leases."""
        host = self._host()
        if host is None:
            return False
        root, host.frozen = host.root, True
        processes.freeze(root)

        def thaw() -> None:
            processes.thaw(root)
            host.frozen = False

        self._after(FROZEN, thaw)
        return True

    def crash_broker(self) -> bool:
        self.scene.broker.kill()
        time.sleep(self.random.uniform(*AWAY))
        self.scene.broker.start()
        return True

    def crash_database(self) -> bool:
        return self._database(self.scene.database.CRASH)

    def restart_database(self) -> bool:
        return self._database(self.scene.database.STOP)

    def _database(self, how: signal.Signals) -> bool:
        self.scene.database.stop(how)
        time.sleep(self.random.uniform(*AWAY))
        self.scene.database.serve()
        return True

    def cancel_run(self) -> bool:
        active = self.scene.active()
        if not active:
            return False
        self.scene.cancel(self.random.choice(active))
        return True

    def reload_code(self) -> bool:
        """The code location is deployed anew."""
        with (self.scene.folder / "location.py").open("a") as file:
            file.write(f"# deployed at {time.time()}\n")
        return True
