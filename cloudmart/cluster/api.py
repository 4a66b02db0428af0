"""The API server over HTTP, for what kubectl does one object at a time: many requests, one process that signs them in.

`kubectl proxy` does the talking, on a socket in a folder that only this user can enter: on a TCP port any user of the
machine could ask with these credentials.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloudmart.cluster.kubectl import Kubectl, KubectlError
from cloudmart.cluster.live import Reference

_SECONDS_TO_START = 20


@dataclass(frozen=True)
class Answer:
    """What the API server said: an object, or a Status where `status` is 400 or more."""

    status: int
    content: Mapping[str, Any]

    @property
    def message(self) -> str:
        """The reason of a refusal, in one line."""
        return " ".join(str(self.content.get("message") or f"HTTP status {self.status}").split())


@dataclass(frozen=True)
class Api:
    """Requests to one API server; may be used by several threads."""

    socket: Path

    def request(self, method: str, path: str, body: object = None, *, content_type: str = "application/json") -> Answer:
        """One request. Raises ``KubectlError`` when there is no answer within a minute."""
        connection = _Connection(self.socket)
        try:
            # What is applied is read as YAML, which has no such escape as JSON's surrogate pairs.
            content = None if body is None else json.dumps(body, ensure_ascii=False).encode()
            connection.request(method, path, content, {"Content-Type": content_type, "Accept": "application/json"})
            response = connection.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise KubectlError(f"{method} {path.partition('?')[0]}: no answer ({error})") from None
        finally:
            connection.close()
        try:
            return Answer(response.status, json.loads(text))
        except ValueError:
            return Answer(response.status, {"message": text.decode(errors="replace")})

    def plurals(self, api_versions: Iterable[str]) -> Mapping[tuple[str, str], str]:
        """``(apiVersion, kind)`` to the kind's name in paths, of every kind served in these API versions."""
        asked = sorted(set(api_versions))
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda version: self.request("GET", _root(version)), asked))
        return {
            (api_version, resource["kind"]): resource["name"]
            for api_version, answer in zip(asked, answers, strict=True)
            for resource in answer.content.get("resources", [])
            if "/" not in resource["name"]  # subresources
        }


def path(reference: Reference, plural: str) -> str:
    """Where an object stands."""
    within = f"/namespaces/{reference.namespace}" if reference.namespace else ""
    return f"{_root(reference.api_version)}{within}/{plural}/{reference.name}"


@contextlib.contextmanager
def connected(kubectl: Kubectl) -> Iterator[Api]:
    """A connection for a while, to kubectl's cluster with kubectl's credentials."""
    # Not below the project: the path of a socket may have some hundred characters.
    with tempfile.TemporaryDirectory(prefix="cloudmart-") as folder:
        place = Path(folder) / "api"
        process = subprocess.Popen(
            [*kubectl.command, "proxy", f"--unix-socket={place}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **kubectl.env},
        )
        try:
            _wait(process, place)
            yield Api(place)
        finally:
            process.terminate()
            process.communicate()


def _wait(process: subprocess.Popen[str], place: Path) -> None:
    deadline = time.monotonic() + _SECONDS_TO_START
    while time.monotonic() < deadline:
        if process.poll() is not None:
            said = process.communicate()[1].strip().splitlines() or [f"exit code {process.returncode}"]
            raise KubectlError(f"kubectl proxy: {said[-1]}")
        with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
            probe.connect(str(place))
            return
        time.sleep(0.01)
    raise KubectlError(f"kubectl proxy: not ready within {_SECONDS_TO_START} s")


def _root(api_version: str) -> str:
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"


class _Connection(http.client.HTTPConnection):
    def __init__(self, place: Path) -> None:
        super().__init__("localhost", timeout=60)
        self._place = place

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._place))
