"""Credentials that are refused: at a run's start they are wrong, later on they have expired."""

import http.server
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from dagster import DagsterEventType, DagsterInstance

from conftest import Background, Queue, wait_for

EXPIRED = b'{"__type": "ExpiredTokenException", "message": "The security token has expired"}'


@dataclass
class Front:
    """What stands before a broker, as AWS' own look at the credentials does."""

    url: str = ""
    refuses: bool = False


@contextmanager
def before(endpoint: str) -> Iterator[Front]:
    """Passes everything on, or refuses it."""
    front = Front()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if front.refuses:
                self._answer(403, EXPIRED)
                return
            request = urllib.request.Request(endpoint + self.path, body, dict(self.headers))
            with urllib.request.urlopen(request) as answer:
                self._answer(answer.status, answer.read())

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.0")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        front.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield front
        finally:
            server.shutdown()
            thread.join()


def said(instance: DagsterInstance, run_id: str) -> str:
    return "\n".join(entry.message for entry in instance.all_logs(run_id))


def test_a_token_that_expires_in_the_middle_of_a_run_is_waited_for(
    instance: DagsterInstance, queue: Queue, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with before(endpoint) as front:
        monkeypatch.setenv("DAGSTER_TASKIQ_SQS_ENDPOINT_URL", front.url)
        run = Background("chain_job", instance, queue)
        first = run.message()
        front.refuses = True
        run.work(first)
        wait_for(lambda: "Trying again for" in said(instance, run.run.run_id), "the sentence")
        front.refuses = False
        run.work(run.message())
        run.work(run.message())
        assert run.finish().is_success
        # At the start of a run they are simply wrong, and that is said at once.
        front.refuses = True
        run = Background("chain_job", instance, queue)
        assert run.finish().is_failure
        (end,) = instance.all_logs(run.run.run_id, of_type=DagsterEventType.RUN_FAILURE)
        error = end.get_dagster_event().job_failure_data.error
        assert error is not None
        assert "check AWS_ACCESS_KEY_ID" in error.message
