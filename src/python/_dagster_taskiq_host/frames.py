"""Frames on a Unix socket: a 4-byte big-endian length, then JSON.

Writing never blocks. What the peer does not take stays in a bounded queue; beyond the bound,
frames that only inform (``event``, ``log``) are dropped and counted, the others are kept.
"""

import json
import socket
import struct
from collections import deque
from typing import Any

Frame = dict[str, Any]

HEADER = struct.Struct(">I")
MAX_FRAME = 16 * 1024 * 1024
"""Bytes. A Taskiq message is at most 1 MiB inline; one read from S3 may be larger."""

MAX_QUEUED = 1024 * 1024
"""Bytes of unsent frames beyond which ``event`` and ``log`` frames are dropped: a worker that does
not read for some seconds must not make this process grow."""

DROPPABLE = frozenset({"event", "log"})


class Closed(Exception):
    """The peer closed the socket: the worker died or no longer wants this process."""


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
    def wants_write(self) -> bool:
        return bool(self._outgoing)

    def send(self, frame: Frame) -> None:
        """Queues a frame and sends what the socket takes now."""
        if frame["kind"] in DROPPABLE and self._queued > MAX_QUEUED:
            self.dropped += 1
            return
        body = json.dumps(frame, default=str).encode()
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
        """The frames that have arrived in full. Raises ``Closed`` at the end of the stream."""
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

    def close(self) -> None:
        self._sock.close()
