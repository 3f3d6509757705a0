"""A tail that misses no event, whatever order they become visible in and wherever a read fails."""

import random
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from dagster import DagsterInstance, job, op
from sqlalchemy import create_engine, text

from dagster_taskiq.log_tail import WINDOW, LogTail, RunLog
from postgres import Postgres
from servers import NoServer


class Away(Exception):
    """The store does not answer."""


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """A server of its own, its data where the user that runs it may go."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            server = Postgres.start(Path(folder) / "database")
        except NoServer as error:
            pytest.skip(f"Postgres was not tested: {error}")
        yield server
        server.stop()


@dataclass(frozen=True)
class Record:
    storage_id: int
    process: int
    number: int
    """Of the event among its process's."""


class Store:
    """Gives ids at the write and shows them at the commit; each process commits in its order."""

    is_ordered = False

    def __init__(self, chance: random.Random, processes: int, events: int):
        self.chance = chance
        self.todo = {process: list(range(events)) for process in range(processes)}
        self.open: dict[int, Record] = {}
        self.visible: list[Record] = []
        self.ids = 0
        self.fails = False

    def step(self) -> bool:
        """One process writes or commits; whether there was anything left to do."""
        able = [process for process, left in self.todo.items() if left or process in self.open]
        if not able:
            return False
        process = self.chance.choice(able)
        if process in self.open:
            self.visible.append(self.open.pop(process))
            self.visible.sort(key=lambda record: record.storage_id)
        else:
            self.ids += self.chance.randint(1, 3)
            self.open[process] = Record(self.ids, process, self.todo[process].pop(0))
        return True

    def page(self, after: int, limit: int) -> list[Record]:
        if self.fails and self.chance.random() < 0.3:
            raise Away
        return [record for record in self.visible if record.storage_id > after][:limit]

    def count(self, after: int, until: int) -> int:
        if self.fails and self.chance.random() < 0.1:
            raise Away
        return sum(1 for record in self.visible if after < record.storage_id <= until)


@pytest.mark.parametrize("seed", range(150))
def test_every_event_is_read_once_and_after_the_earlier_ones_of_its_process(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_EXECUTOR_POP_EVENTS_LIMIT", "4")
    chance = random.Random(seed)
    store = Store(chance, processes=chance.randint(1, 8), events=chance.randint(1, 15))
    total = sum(map(len, store.todo.values()))
    now = 0.0
    tail = LogTail(store, clock=lambda: now)
    read: list[Record] = []

    def look() -> None:
        try:
            read.extend(tail.read_to_end())
        except Away:
            return

    store.fails = True
    while store.step():
        # A commit takes no longer than the window.
        now += chance.uniform(0, WINDOW / 200)
        if chance.random() < 0.5:
            look()
    store.fails = False
    for _ in range(3):
        now += 1.5
        look()

    assert len(read) == len(set(read)) == total
    for process in store.todo:
        numbers = [record.number for record in read if record.process == process]
        assert numbers == sorted(numbers)


def test_a_failed_page_loses_nothing_of_the_pages_before_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DAGSTER_EXECUTOR_POP_EVENTS_LIMIT", "5")
    store = Store(random.Random(1), processes=1, events=12)
    while store.step():
        pass
    tail = LogTail(store)
    pages = store.page

    def fails_at_the_second(after: int, limit: int) -> list[Record]:
        if after:
            raise Away
        return pages(after, limit)

    store.page = fails_at_the_second  # type: ignore[method-assign]
    with pytest.raises(Away):
        tail.read_to_end()
    store.page = pages  # type: ignore[method-assign]
    assert len(tail.read_to_end()) == 12
    assert tail.read_to_end() == []


def test_on_postgres_an_event_that_commits_late_is_read_all_the_same(
    postgres: Postgres, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text(f"telemetry: {{enabled: false}}\n{postgres.dagster_storage}")
    with DagsterInstance.from_config(str(home)) as instance:
        run = _run(instance)
        tail = LogTail.of(instance, run)
        assert not RunLog(instance, run).is_ordered
        _write(instance, run, "first")
        assert [_message(record) for record in tail.read_to_end()] == ["first"]
        held, release = threading.Event(), threading.Event()
        late = threading.Thread(target=_insert_late, args=(postgres.url, run, held, release))
        late.start()
        assert held.wait(30)
        _write(instance, run, "visible")
        assert [_message(record) for record in tail.read_to_end()] == ["visible"]
        release.set()
        late.join(30)
        _write(instance, run, "after")
        assert [_message(record) for record in tail.read_to_end()] == ["first", "after"]
        assert tail.read_to_end() == []


def _run(instance: DagsterInstance) -> str:
    @op
    def nothing() -> None: ...

    @job
    def empty() -> None:
        nothing()

    return instance.create_run_for_job(empty).run_id


def _write(instance: DagsterInstance, run_id: str, message: str) -> None:
    instance.report_engine_event(message, instance.get_run_by_id(run_id))


def _message(record: object) -> str:
    return record.event_log_entry.dagster_event.message  # type: ignore[attr-defined]


def _insert_late(url: str, run_id: str, held: threading.Event, release: threading.Event) -> None:
    """Copies the run's newest event with an id that is drawn now and visible later."""
    engine = create_engine(url)
    with engine.connect() as connection:
        copied = connection.execute(
            text(
                "INSERT INTO event_logs (run_id, event, dagster_event_type, timestamp) "
                "SELECT run_id, event, dagster_event_type, timestamp FROM event_logs "
                "WHERE run_id = :run ORDER BY id DESC LIMIT 1 RETURNING id"
            ),
            {"run": run_id},
        )
        assert copied.scalar_one()
        held.set()
        assert release.wait(30)
        connection.commit()
    engine.dispose()
