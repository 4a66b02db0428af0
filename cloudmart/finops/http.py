"""HTTP with servers that nobody vouches for: a deadline for the whole answer, a bound on its size, no redirects."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

import requests

_T = TypeVar("_T")
_PIECE = 2**16
_REDIRECTS = (301, 302, 303, 307, 308)


@dataclass(frozen=True)
class Response:
    """One answer, whatever its status. `body` is unpacked; names of `headers` are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class TooLargeError(Exception):
    """The answer goes on beyond what was allowed."""


class RedirectedError(Exception):
    """The answer is elsewhere; its text says where. Not followed: nobody asked for that address, or trusts it."""


def fetch(
    session: requests.Session,
    method: str,
    url: str,
    *,
    timeout: float,
    most: int,
    data: Mapping[str, str] | None = None,
) -> Response:
    """One request, answered within `timeout` seconds by at most `most` bytes.

    Raises ``TimeoutError``, :class:`TooLargeError`, :class:`RedirectedError`, ``requests.RequestException``, and
    ``ValueError`` for an address that is none.
    """
    return _within(timeout, lambda: _fetched(session, method, url, timeout, most, data))


def _fetched(
    session: requests.Session, method: str, url: str, timeout: float, most: int, data: Mapping[str, str] | None
) -> Response:
    deadline = time.monotonic() + timeout
    limits = (min(timeout, 10), timeout)
    with session.request(method, url, data=data, timeout=limits, stream=True, allow_redirects=False) as response:
        if response.status_code in _REDIRECTS:
            raise RedirectedError(response.headers.get("Location", "nowhere"))
        pieces, size = [], 0
        for piece in response.iter_content(_PIECE):
            pieces.append(piece)
            size += len(piece)
            if size > most:
                raise TooLargeError
            if time.monotonic() > deadline:
                raise TimeoutError
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Response(response.status_code, headers, b"".join(pieces))


def _within(seconds: float, ask: Callable[[], _T]) -> _T:
    """What `ask` returns or raises. A socket's time limit is for each read alone: a server that drips keeps it going.

    A thread that is late is left behind; it ends with the program, or by its own limits.
    """
    answer: queue.SimpleQueue[tuple[_T | None, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            answer.put((ask(), None))
        except BaseException as error:  # noqa: BLE001 (raised again below)
            answer.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        found, error = answer.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError from None
    if error is not None:
        raise error
    return found  # type: ignore[return-value]


def host_of(url: str) -> str | None:
    """The host of an address with http or https; ``None`` where it is no such address, or has more than a path."""
    try:
        parts = urlsplit(url)
        host = parts.hostname if parts.scheme in ("http", "https") else None
        _ = parts.port  # raises for one that is none
    except ValueError:
        return None
    return host if host and url.isprintable() and len(url) < 2048 and not parts.query and not parts.fragment else None
