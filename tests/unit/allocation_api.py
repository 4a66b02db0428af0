"""A stand-in for the Allocation API: recorded answers, generated ones and faults; it remembers what was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

ANSWERS = Path(__file__).with_name("allocation_answers")

#: When the recorded answers were asked for.
RECORDED_NOW = datetime(2026, 11, 23, 23, 12, tzinfo=UTC)


def recorded(name: str) -> bytes:
    """The body of a recorded answer."""
    return (ANSWERS / f"{name}.json").read_bytes()


@dataclass(frozen=True)
class Reply:
    """What the server sends; ``hang`` closes the connection without an answer."""

    body: bytes = b'{"code":200,"data":[{}]}'
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    hang: bool = False


@dataclass
class Api:
    """A running stand-in. ``replies`` come in turn, the last one for ever."""

    url: str
    replies: Sequence[Reply | Callable[[dict[str, str]], Reply]]
    path: str
    #: The decoded parameters and the raw request line of each request.
    asked: list[dict[str, str]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def reply(self, line: str) -> Reply:
        parts = urlsplit(line)
        self.lines.append(line)
        if parts.path != self.path:
            return Reply(b"404 page not found", 404)
        parameters = {key: values[-1] for key, values in parse_qs(parts.query, keep_blank_values=True).items()}
        self.asked.append(parameters)
        chosen = self.replies[min(len(self.asked), len(self.replies)) - 1]
        return chosen(parameters) if callable(chosen) else chosen


@contextmanager
def serving(*replies: Reply | Callable[[dict[str, str]], Reply], path: str = "/allocation") -> Iterator[Api]:
    """Runs the stand-in on loopback."""
    api = Api("", replies, path)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            reply = api.reply(self.path)
            if reply.hang:
                self.close_connection = True
                return
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    api.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()


def entry(window: str, *, minutes: float | None = None, **figures: Any) -> dict[str, Any]:
    """One allocation: a pod that requests 1 core and 2 GiB, uses half of it, at OpenCost's default prices."""
    start, end = (datetime.fromisoformat(text) for text in window.split(","))
    minutes = (end - start).total_seconds() / 60 if minutes is None else minutes
    hours = minutes / 60
    return {
        "window": {"start": window.split(",")[0], "end": window.split(",")[1]},
        "start": window.split(",")[0],
        "end": window.split(",")[1],
        "minutes": minutes,
        "cpuCoreHours": 1.0 * hours,
        "cpuCoreRequestAverage": 1.0,
        "cpuCoreUsageAverage": 0.5,
        "cpuCost": 0.031611 * hours,
        "ramByteHours": 2 * 2**30 * hours,
        "ramByteRequestAverage": 2.0 * 2**30,
        "ramByteUsageAverage": 1.0 * 2**30,
        "ramCost": 0.004237 * 2 * hours,
        **figures,
    }


def answer(*steps: Mapping[str, Any]) -> Reply:
    """An answer with these steps."""
    return Reply(json.dumps({"code": 200, "status": "success", "data": list(steps)}).encode())


def key(namespace: str, workload: str, pod: str | None = None, cost_center: str = "CC-2001") -> str:
    """The key of a pod, as ``cloudmart.finops.actual.AGGREGATE`` asks for it."""
    pod = pod or f"{workload}-0"
    return f"{namespace}/deployment:{workload}/{pod}/{workload}/{workload}/{workload}-cloudmart/{cost_center}"
