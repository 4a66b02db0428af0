"""A proxy in front of the API server that answers 429, 500 or slowly, and cuts connections: by seed, on loopback.

It ends TLS with the cluster's own certificates, on both sides: who talks to it needs the cluster's client certificate.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from typing import Any

import yaml

from cloudmart.cluster.local import LocalCluster

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host"}


class Proxy(ThreadingHTTPServer):
    """Listens on a port of its own choice as long as it is used as a context manager."""

    daemon_threads = True
    request_queue_size = 128  # the engine comes with 64 at once

    def __init__(self, cluster: LocalCluster, random: Random, faults: Sequence[str], share: float) -> None:
        """`faults` of ``429``, ``500``, ``slow`` and ``cut`` meet `share` of the requests (0 to 1)."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.random, self.faults, self.share = random, tuple(faults), share
        self.met: dict[str, int] = {}
        self._lock = threading.Lock()
        config = yaml.safe_load(cluster.kubeconfig.read_text())
        self._config = config
        there = config["clusters"][0]["cluster"]
        user = config["users"][0]["user"]
        self.upstream = there["server"].removeprefix("https://")
        certificate = (user["client-certificate"], user["client-key"])
        self.client = ssl.create_default_context(cafile=there["certificate-authority"])
        self.client.load_cert_chain(*certificate)
        self.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=there["certificate-authority"])
        self.tls.verify_mode = ssl.CERT_REQUIRED
        self.tls.load_cert_chain(*certificate)

    def kubeconfig(self, path: Path) -> Path:
        """Writes a kubeconfig of which the context of the cluster's own name leads here."""
        config = json.loads(json.dumps(self._config))
        config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{self.server_address[1]}"
        path.write_text(yaml.safe_dump(config))
        path.chmod(0o600)
        return path

    def fault(self) -> str | None:
        """What happens to the next request."""
        with self._lock:
            if self.random.random() >= self.share:
                return None
            what = self.random.choice(self.faults)
            self.met[what] = self.met.get(what, 0) + 1
            return what

    def seconds(self, longest: float) -> float:
        with self._lock:
            return self.random.uniform(0, longest)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections end here in all sorts of ways, on purpose."""

    @contextlib.contextmanager
    def serving(self) -> Iterator[Proxy]:
        """Serves in a thread."""
        thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.shutdown()
            self.server_close()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy
    upstream: http.client.HTTPSConnection

    def setup(self) -> None:
        # Here, not where connections are accepted: one handshake does not hold up the others.
        self.request = self.server.tls.wrap_socket(self.request, server_side=True)
        host, _, port = self.server.upstream.partition(":")
        self.upstream = http.client.HTTPSConnection(host, int(port), context=self.server.client, timeout=120)
        super().setup()

    def finish(self) -> None:
        self.upstream.close()
        super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""

    def _pass(self) -> None:
        body = self._body()
        fault = self.server.fault()
        if fault in ("429", "500"):
            self._refuse(int(fault))
            return
        if fault == "slow":
            time.sleep(self.server.seconds(3))
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
        self.upstream.request(self.command, self.path, body=body, headers=headers)
        answer = self.upstream.getresponse()
        # A watch is cut after a while; another answer after some of it has gone out.
        watch = "watch=" in self.path
        cut_at = time.monotonic() + self.server.seconds(2) if fault == "cut" and watch else None
        if cut_at is not None and self.upstream.sock is not None:
            self.upstream.sock.settimeout(0.1)
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while True:
            try:
                part = answer.read1(65536)
            except TimeoutError:
                part = None
            if fault == "cut" and (cut_at is None or time.monotonic() > cut_at):
                self.wfile.write(b"%x\r\n" % len(part or b"x") + (part or b"x")[: len(part or b"x") // 2])
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            if part is None:
                continue
            self.wfile.write(b"%x\r\n" % len(part) + part + b"\r\n")
            self.wfile.flush()
            if not part:
                answer.close()  # or the next request on this connection finds it unread
                return

    def _body(self) -> bytes | None:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0)) or None
        parts = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            """Trailers."""
        return b"".join(parts)

    def _refuse(self, code: int) -> None:
        reason = {429: "TooManyRequests", 500: "InternalError"}[code]
        message = {429: "too many requests: said by the proxy", 500: "internal error: said by the proxy"}[code]
        status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason}
        text = json.dumps(status | {"message": message}).encode()
        self.send_response(code)
        if code == 429:
            self.send_header("Retry-After", "1")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass  # noqa: N815
