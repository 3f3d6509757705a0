"""Frames on a Unix socket: a 4-byte big-endian length, then JSON.

Writing never blocks. Unsent frames stay in a bounded queue. Beyond the bound, frames that only
inform (``event``, ``log``) are dropped and counted; the others are kept.
"""

import contextlib
import json
import math
import socket
import struct
from collections import deque
from typing import Any

Frame = dict[str, Any]

HEADER = struct.Struct(">I")
MAX_FRAME = 16 * 1024 * 1024
"""Maximum size of a frame in bytes. A Taskiq message is at most 1 MiB inline; one from S3 may be
larger.
"""

MAX_QUEUED = 1024 * 1024
"""Size of the queue in bytes beyond which ``event`` and ``log`` frames are dropped: a worker that
does not read for some seconds must not make this process grow.
"""

DROPPABLE = frozenset({"event", "log"})

LONGEST_TEXT = 64 * 1024
"""Maximum number of characters of a text in a frame that would otherwise exceed ``MAX_FRAME``."""


def encode(frame: Frame) -> bytes:
    """Encodes a frame as JSON that every reader accepts, with any texts and numbers.

    Exception texts may contain half of a surrogate pair (from a file name that is not valid UTF-8),
    and numbers may be NaN or infinite; JSON has neither.
    """
    try:
        body = _dump(frame)
    except (ValueError, TypeError, RecursionError):
        body = _dump(_clean(frame))
    if len(body) <= MAX_FRAME:
        return body
    if frame.get("kind") == "answer":
        # A partial answer would be mistaken for a complete one.
        error = f"the answer has {len(body)} bytes, more than the {MAX_FRAME} of a frame"
        return _dump({"kind": "answer", "id": frame["id"], "error": error})
    return _dump(_clean(frame, LONGEST_TEXT))


def _dump(value: Any) -> bytes:
    # Half of a surrogate pair raises UnicodeEncodeError here, which is a ValueError.
    return json.dumps(value, default=str, allow_nan=False, ensure_ascii=False).encode()


def _clean(value: Any, longest: int | None = None, depth: int = 20) -> Any:
    if isinstance(value, str):
        return value[:longest].encode("utf-8", "backslashreplace").decode()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int)):
        return value
    if depth > 0 and isinstance(value, dict):
        return {
            _clean(str(key), longest): _clean(item, longest, depth - 1)
            for key, item in value.items()
        }
    if depth > 0 and isinstance(value, (list, tuple)):
        return [_clean(item, longest, depth - 1) for item in value]
    return _clean(str(value), longest)


class Closed(Exception):
    """The peer closed the socket: the worker died or no longer needs this process."""


class Channel:
    """One end of the socket, in non-blocking mode."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._incoming = bytearray()
        self._outgoing: deque[memoryview] = deque()
        self._queued = 0
        self.dropped = 0

    def fileno(self) -> int:
        return self._sock.fileno()

    @property
    def has_output(self) -> bool:
        return bool(self._outgoing)

    def send(self, frame: Frame) -> None:
        """Queues a frame and sends as much as the socket accepts now."""
        if frame["kind"] in DROPPABLE and self._queued > MAX_QUEUED:
            self.dropped += 1
            return
        body = encode(frame)
        self._outgoing.append(memoryview(HEADER.pack(len(body)) + body))
        self._queued += HEADER.size + len(body)
        self.flush()

    def flush(self) -> None:
        """Sends queued bytes until the socket is full or the queue is empty."""
        while self._outgoing:
            head = self._outgoing[0]
            try:
                sent = self._sock.send(head)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                raise Closed(str(error)) from error
            self._queued -= sent
            if sent == len(head):
                self._outgoing.popleft()
            else:
                self._outgoing[0] = head[sent:]

    def receive(self) -> list[Frame]:
        """Returns the complete frames. Raises ``Closed`` at the end of the stream."""
        try:
            chunk = self._sock.recv(256 * 1024)
        except (BlockingIOError, InterruptedError):
            return []
        except OSError as error:
            raise Closed(str(error)) from error
        if not chunk:
            raise Closed("end of stream")
        self._incoming += chunk
        return list(self._take_frames())

    def _take_frames(self) -> "list[Frame]":
        frames: list[Frame] = []
        while len(self._incoming) >= HEADER.size:
            (length,) = HEADER.unpack_from(self._incoming)
            if length > MAX_FRAME:
                raise Closed(f"a frame of {length} bytes, more than {MAX_FRAME}")
            end = HEADER.size + length
            if len(self._incoming) < end:
                break
            frames.append(json.loads(self._incoming[HEADER.size : end]))
            del self._incoming[:end]
        return frames

    def end(self) -> None:
        """Announces that nothing more will be sent; frames from the peer still arrive."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._sock.close()
