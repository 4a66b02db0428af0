"""A server on loopback that answers as hostile Kubecosts and Prometheuses would."""

from __future__ import annotations

import gzip
import json
import os
import signal
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.hostile.payloads import JSON_FILES, TEXTS
from tests.unit.allocation_api import entry

Query = dict[str, str]
MIB = 1 << 20
#: Seconds for which a slow answer drips: longer than any time limit of a case.
_DRIP = 60


def _allocations(*entries: tuple[str, dict[str, Any]]) -> Callable[[Query], bytes]:
    """An answer to the query, whatever it is aggregated by, with a hostile text in every field of the key."""

    def body(query: Query) -> bytes:
        fields = query.get("aggregate", "cluster").count(",") + 1
        window = query.get("window", "2026-11-22T00:00:00Z,2026-11-23T00:00:00Z")
        step = {}
        for text, changes in entries:
            parts = ["cloudmart", f"deployment:{text}", *[text] * max(fields - 2, 0)][:fields]
            step["/".join(part.replace("/", "\u2215") for part in parts)] = entry(window, **changes)
        return json.dumps({"code": 200, "data": [step]}).encode()

    return body


def _raw(numbers: str) -> Callable[[Query], bytes]:
    """An allocation whose CPU cost is spelled so."""

    def body(query: Query) -> bytes:
        return _allocations(("x", {"cpuCost": "@"}))(query).replace(b'"@"', numbers.encode())

    return body


#: Bodies by name: bytes, or made for the query.
BODIES: dict[str, bytes | Callable[[Query], bytes]] = {
    **{f"json-{name}": body for name, body in JSON_FILES.items() if len(body) < 40 * MIB},
    **{f"text-{index}": _allocations((text, {})) for index, text in enumerate(TEXTS)},
    **{
        f"number-{index}": _raw(number)
        for index, number in enumerate(
            ("1e999", "-1e300", "9" * 5000, "NaN", "-1", "1e21", '"1"', "[]", "null", "1e-320")
        )
    },
    "zero-minutes": _allocations(("x", {"minutes": 0})),
    "backwards": _allocations(("x", {"start": "2026-11-23T00:00:00Z", "end": "1970-01-01T00:00:00Z"})),
    "year-one": _allocations(("x", {"start": "0001-01-01T00:00:00+14:00", "end": "9999-12-31T23:59:59-14:00"})),
    "no-date": _allocations(("x", {"start": "yesterday"})),
    "data-number": b'{"code": 200, "data": 7}',
    "data-deep": b'{"code": 200, "data": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    "error-escape": b'{"code": 500, "message": "\\u001b[2Jno\\u202e"}',
    "error-long": b'{"code": 500, "message": "' + b"A" * MIB + b'"}',
    "same-keys": b'{"code": 200, "data": [{"a": null, "a": null}], "data": []}',
    # Prometheus' shape, for whoever asks it.
    "prometheus-empty": b'{"status": "success"}',
    "prometheus-text": b'{"status": "success", "data": {"result": "abc"}}',
    "prometheus-nan": b'{"status":"success","data":{"result":[{"metric":{"service":"user-service"},'
    b'"values":[[1,"NaN"]],'
    b'"value":[1,"NaN"]}]}}',
    "prometheus-inf": b'{"status":"success","data":{"result":[{"metric":{"service":"user-service"},'
    b'"values":[[1,"+Inf"]],'
    b'"value":[1,"1e400"]}]}}',
    "prometheus-negative": b'{"status":"success","data":{"result":[{"metric":{"service":"user-service"},'
    b'"values":[[1,"-5"],[-1e300,"1"]],"value":[1,"-5"]}]}}',
    "prometheus-words": b'{"status":"success","data":{"result":[{"metric":{"service":"user-service"},'
    b'"values":[["a","b"]],'
    b'"value":["a","b"]}]}}',
    "prometheus-shape": b'{"status":"success","data":{"result":[{"metric":7,"values":7,"value":7}]}}',
    "prometheus-error": b'{"status":"error","error":"\\u001b[2Jno\\u202e"}',
}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    away: str
    hits: Path
    bomb: bytes

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        name = parts.path.split("/")[1]
        query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        with suppress(OSError):
            if name in BODIES:
                body = BODIES[name]
                self.answer(body(query) if callable(body) else body)
            else:
                getattr(self, name.replace("-", "_"))(query)
        self.close_connection = True

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.do_GET()

    def answer(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for key, value in {"Content_Type": "application/json", "Content_Length": str(len(body)), **headers}.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    # --- ways to answer ----------------------------------------------------------------------------------------------

    def good(self, query: Query) -> None:
        self.answer(_allocations(("x", {}))(query))

    def huge(self, query: Query, piece: bytes = b" " * MIB, before: bytes = b"", count: int = 700) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(before)
        for _ in range(count):
            self.wfile.write(piece)

    def huge_null(self, query: Query) -> None:
        self.huge(query, b"null," * 200_000, b'{"code":200,"data":[')

    def huge_maps(self, query: Query) -> None:
        self.huge(query, b"{}," * 350_000, b'{"code":200,"data":[')

    def huge_keys(self, query: Query) -> None:
        self.huge(query, b'"k":{},' * 150_000, b'{"code":200,"data":[{')

    def huge_text(self, query: Query) -> None:
        self.huge(query, b"x" * MIB, b'{"code":200,"message":"')

    def large_maps(self, query: Query) -> None:
        """Within the limit of bytes, and many objects for them."""
        self.answer(b'{"code":200,"data":[' + b"{}," * 10_000_000 + b"{}]}")

    def large_lists(self, query: Query) -> None:
        self.answer(b'{"code":200,"data":[{"x":' + b"[" + b"[]," * 10_000_000 + b"[]]" + b"}]}")

    def large_numbers(self, query: Query) -> None:
        self.answer(b'{"code":200,"data":[{"x":[' + b"1," * 15_000_000 + b"1]}]}")

    def large_keys(self, query: Query) -> None:
        keys = b",".join(b'"%d":1' % number for number in range(3_000_000))
        self.answer(b'{"code":200,"data":[],"x":{' + keys + b"}}")

    def gzip_bomb(self, query: Query) -> None:
        self.answer(self.bomb, Content_Encoding="gzip")

    def gzip_twice(self, query: Query) -> None:
        self.answer(gzip.compress(self.bomb, 1), Content_Encoding="gzip, gzip")

    def gzip_lie(self, query: Query) -> None:
        self.answer(b"not gzip at all", Content_Encoding="gzip")

    def drip_body(self, query: Query) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        self.drip(b" ")

    def drip_chunks(self, query: Query) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.drip(b"1\r\n \r\n")

    def drip_close(self, query: Query) -> None:
        self.send_response(200)
        self.end_headers()
        self.drip(b" ")

    def drip_headers(self, query: Query) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        self.drip(b"X-A: b\r\n")

    def drip_status(self, query: Query) -> None:
        self.drip(b"H")

    def silent(self, query: Query) -> None:
        time.sleep(_DRIP)

    def drip(self, piece: bytes) -> None:
        end = time.monotonic() + _DRIP
        while time.monotonic() < end:
            self.wfile.write(piece)
            time.sleep(0.3)

    def short(self, query: Query) -> None:
        self.answer(b'{"code": 200', Content_Length="100000")

    def long(self, query: Query) -> None:
        self.answer(b'{"code":200,"data":[]} and more', Content_Length="22")

    def length_negative(self, query: Query) -> None:
        self.answer(b'{"code":200,"data":[]}', Content_Length="-1")

    def length_words(self, query: Query) -> None:
        self.answer(b'{"code":200,"data":[]}', Content_Length="many")

    def chunk_bad(self, query: Query) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"zz\r\nhello\r\n")

    def chunk_huge(self, query: Query) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"ffffffffffffffff\r\nhello\r\n")

    def headers_many(self, query: Query) -> None:
        self.answer(b"{}", 200, **{f"X_{index}": "y" for index in range(500)})

    def header_long(self, query: Query) -> None:
        self.answer(b"{}", X_Long="y" * 200_000)

    def no_http(self, query: Query) -> None:
        self.wfile.write(b"\x00\x01SSH-2.0-evil\r\n\x1b[2J\r\n")

    def http_nine(self, query: Query) -> None:
        self.wfile.write(b"HTTP/9.9 999 \x1b[2J\r\nContent-Length: 0\r\n\r\n")

    def nothing(self, query: Query) -> None:
        pass

    def html(self, query: Query) -> None:
        self.answer(b"<html><script>alert(1)</script>", Content_Type="text/html")

    def wrong_type(self, query: Query) -> None:
        self.answer(_allocations(("x", {}))(query), Content_Type="image/png")

    def wrong_charset(self, query: Query) -> None:
        self.answer(json.dumps({"code": 200, "data": []}).encode("utf-16"), Content_Type="application/json; charset=x")

    def teapot(self, query: Query) -> None:
        self.answer(b"\x1b[2J\xe2\x80\xae", 418)

    def retry_for_ever(self, query: Query) -> None:
        self.answer(b"later", 503, Retry_After="9" * 400)

    def retry_negative(self, query: Query) -> None:
        self.answer(b"later", 429, Retry_After="-5")

    def wants_password(self, query: Query) -> None:
        self.answer(b"who?", 401, WWW_Authenticate='Basic realm="\x1b[2J"')

    def redirect_away(self, query: Query) -> None:
        self.answer(b"", 302, Location=self.away + "/hit/model/allocation")

    def redirect_kept(self, query: Query) -> None:
        self.answer(b"", 308, Location=self.away + "/hit/model/allocation")

    def redirect_file(self, query: Query) -> None:
        self.answer(b"", 302, Location="file:///etc/passwd")

    def redirect_metadata(self, query: Query) -> None:
        self.answer(b"", 302, Location="http://169.254.169.254/latest/meta-data/")

    def redirect_bad(self, query: Query) -> None:
        self.answer(b"", 302, Location="http://[::1")

    def redirect_loop(self, query: Query) -> None:
        self.answer(b"", 302, Location=self.path)

    def cookies(self, query: Query) -> None:
        self.answer(_allocations(("x", {}))(query), Set_Cookie="a=" + "b" * 3000)

    def hit(self, query: Query) -> None:
        """Where a redirect leads that nobody may follow."""
        self.hits.touch()
        self.answer(b'{"code":200,"data":[]}')

    def log_message(self, *args: object) -> None:
        pass


WAYS = tuple(
    name.replace("_", "-")
    for name, value in vars(_Handler).items()
    if callable(value) and not name.startswith(("_", "do_", "log_")) and name not in ("answer", "drip", "hit")
)


def _bomb() -> bytes:
    """400 MiB of blanks in less than two."""
    squeeze = zlib.compressobj(1, wbits=31)
    return b"".join([*(squeeze.compress(b" " * MIB) for _ in range(400)), squeeze.flush()])


@contextmanager
def serving(hits: Path) -> Iterator[str]:
    """Runs the server in a process of its own; its URL. Who follows a redirect to its second port touches `hits`."""
    here, away = (ThreadingHTTPServer(("127.0.0.1", 0), _Handler) for _ in range(2))
    _Handler.away, _Handler.hits = f"http://127.0.0.1:{away.server_port}", hits
    pid = os.fork()
    if pid == 0:
        _Handler.bomb = _bomb()
        threading.Thread(target=away.serve_forever, daemon=True).start()
        here.serve_forever()
        os._exit(0)
    here.server_close()
    away.server_close()
    try:
        yield f"http://127.0.0.1:{here.server_port}"
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
