"""Runs under random faults: ``python -m soak --seconds 90 --seed 1``."""

import argparse
import json
import random
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from soak import checks, processes
from soak.faults import Faults
from soak.scene import JOBS, Scene, running

#: Runs that are active at a time.
ACTIVE = 6
#: Seconds between two faults.
PAUSE = (2.0, 9.0)
#: Seconds that what was launched may take when nothing is done to it any more.
PATIENCE = 420.0
#: Seconds between two looks at memory and descriptors, and before the first that counts.
LOOK_EVERY = 10.0
SETTLED = 300.0
#: Between the second third and the last, memory and descriptors may grow to this many times.
GROWTH = 1.25


def main() -> int:
    """Soak, check, print; 1 where something is wrong."""
    arguments = _arguments()
    # What was started ends with this process, however that is asked to end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    begin = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="soak-", ignore_cleanup_errors=True) as folder,
        running(Path(folder)) as scene,
    ):
        faults = Faults(scene, random.Random(arguments.seed))
        looks = _soak(scene, faults, begin + arguments.seconds)
        took = time.monotonic() - begin
        late = _wait_for_the_end(scene)
        found = checks.check(scene)
        found.wrong += [f"run {run_id} did not end" for run_id in late]
        found.wrong += _grown(looks)
        report = {
            "seed": arguments.seed,
            "seconds": round(took),
            "faults": dict(sorted(faults.done.items())),
            "runs": dict(found.runs),
            "steps": found.events["STEP_SUCCESS"],
            "attempts_tried_again": found.events["STEP_UP_FOR_RETRY"],
            "memory_mib": _summary([memory for _, memory, _ in looks]),
            "descriptors": _summary([float(count) for _, _, count in looks]),
            "wrong": found.wrong,
        }
        if found.wrong and arguments.keep:
            _keep(scene, Path(arguments.keep))
    print(json.dumps(report, indent=1), flush=True)
    return 1 if found.wrong else 0


def _arguments() -> Any:
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=90.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", help="folder for logs of a soak that went wrong")
    return parser.parse_args()


def _soak(scene: Scene, faults: Faults, until: float) -> list[tuple[float, float, int]]:
    """Keep runs going and do faults; the looks at (seconds, memory, descriptors)."""
    begin = time.monotonic()
    strike_at, look_at = begin + 10.0, begin
    looks = []
    launched = 0
    while time.monotonic() < until:
        for _ in range(ACTIVE - len(scene.active())):
            scene.launch(JOBS[launched % len(JOBS)])
            launched += 1
        faults.undo_due()
        now = time.monotonic()
        if now >= strike_at:
            name = faults.strike()
            print(f"{now - begin:7.1f} s: {name}", file=sys.stderr, flush=True)
            strike_at = time.monotonic() + faults.random.uniform(*PAUSE)
        if now >= look_at:
            look_at = now + LOOK_EVERY
            if all(host.process is not None for host in scene.hosts):
                used = [processes.usage(host.root) for host in scene.hosts]
                looks.append((now - begin, sum(u[0] for u in used), sum(u[1] for u in used)))
        time.sleep(0.3)
    faults.undo_all()
    return looks


def _wait_for_the_end(scene: Scene) -> list[str]:
    """Runs that have not ended when patience has; messages may take a little longer than runs."""
    deadline = time.monotonic() + PATIENCE
    while scene.active() and time.monotonic() < deadline:
        time.sleep(0.5)
    while time.monotonic() < deadline and any(scene.left_in(name) for name in scene.queues()):
        time.sleep(0.5)
    return scene.active()


def _grown(looks: list[tuple[float, float, int]]) -> list[str]:
    """What grew after the first minutes, of a soak that was long enough to tell."""
    settled = [look for look in looks if look[0] >= SETTLED]
    if len(settled) < 60:
        return []
    half = len(settled) // 2
    wrong = []
    for index, name in ((1, "memory"), (2, "descriptors")):
        early = statistics.median(look[index] for look in settled[:half])
        late = statistics.median(look[index] for look in settled[half:])
        if late > GROWTH * early:
            wrong.append(f"{name} grew from {early:.0f} to {late:.0f}")
    return wrong


def _summary(values: list[float]) -> dict[str, int]:
    if not values:
        return {}
    third = max(1, len(values) // 3)
    return {
        "first": round(statistics.median(values[:third])),
        "middle": round(statistics.median(values[third : 2 * third] or values)),
        "last": round(statistics.median(values[-third:])),
    }


def _keep(scene: Scene, folder: Path) -> None:
    """Copy the logs, and every event of the runs that did not succeed."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in [
        *scene.folder.glob("*.log"),
        *scene.folder.glob("log-*/*"),
        scene.folder / "traces",
    ]:
        (folder / f"{path.parent.name}-{path.name}").write_bytes(path.read_bytes())
    for run_id in scene.launched:
        lines = []
        for entry in scene.instance.all_logs(run_id):
            kind = entry.dagster_event.event_type_value if entry.dagster_event else "-"
            lines.append(f"{entry.timestamp:.3f} {kind} {entry.step_key} {entry.message}\n")
        (folder / f"run-{run_id}").write_text("".join(lines))


if __name__ == "__main__":
    sys.exit(main())
