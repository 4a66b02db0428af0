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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloudmart.cluster.discovery import Resource, resources, root
from cloudmart.cluster.kubectl import Kubectl, KubectlError
from cloudmart.cluster.live import Place, Reference

_SECONDS_TO_START = 20
#: Requests that are under way at once.
_PARALLEL = 8


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

    def connection(self, seconds: float | None = 60) -> http.client.HTTPConnection:
        """A connection of the caller's own, which gives up after so many seconds without a word."""
        return _Connection(self.socket, seconds)

    def request(self, method: str, path: str, body: object = None, *, content_type: str = "application/json") -> Answer:
        """One request. Raises ``KubectlError`` when there is no answer within a minute."""
        connection = self.connection()
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

    def get(self, path: str) -> Mapping[str, Any]:
        """What stands there. Raises ``KubectlError`` with what the API server says instead."""
        answer = self.request("GET", path)
        if answer.status >= 400:
            raise KubectlError(f"GET {path}: {answer.message}")
        return answer.content

    def served(self, api_versions: Iterable[str]) -> Mapping[tuple[str, str], Resource]:
        """``(apiVersion, kind)`` of every kind that is served in these API versions.

        Raises ``KubectlError`` when the API server does not say. An API version that is not served has no kinds.
        """

        def ask(path: str) -> Mapping[str, Any] | None:
            answer = self.request("GET", path)
            if answer.status >= 400 and answer.status != 404:
                raise KubectlError(f"GET {path}: {answer.message}")
            return answer.content if answer.status != 404 else None

        return resources(ask, api_versions)

    def listing(self, places: Iterable[Place]) -> Mapping[Reference, Mapping[str, Any]]:
        """Every object of these kinds in these places, with its managed fields; kinds that are not served have none.

        One request each. Raises ``KubectlError`` when the API server does not answer or may not say.
        """
        with ThreadPoolExecutor(_PARALLEL) as pool:
            answers = pool.map(self._items, self.paths(places).items())
            return {Reference.to(item): item for items in answers for item in items}

    def paths(self, places: Iterable[Place]) -> Mapping[Place, str]:
        """Where the objects of each place stand; kinds that are not served are left out."""
        asked = sorted(set(places))
        known = self.served({api_version for api_version, _, _ in asked})
        found: dict[Place, str] = {}
        for place in asked:
            api_version, kind, namespace = place
            resource = known.get((api_version, kind))
            # A namespaced kind without a namespace would be looked for in all of them.
            if resource is not None and resource.namespaced is bool(namespace):
                found[place] = _collection(api_version, namespace, resource.plural)
        return found

    def _items(self, found: tuple[Place, str]) -> Sequence[Mapping[str, Any]]:
        (api_version, kind, _), where = found
        # The items of a list do not say what they are.
        what = {"apiVersion": api_version, "kind": kind}
        return [{**what, **item} for item in self.get(where).get("items") or ()]


def path(reference: Reference, plural: str) -> str:
    """Where an object stands."""
    return f"{_collection(reference.api_version, reference.namespace, plural)}/{reference.name}"


@contextlib.contextmanager
def connected(kubectl: Kubectl) -> Iterator[Api]:
    """A connection for a while, to kubectl's cluster with kubectl's credentials."""
    # Not below the project: the path of a socket may have some hundred characters.
    with tempfile.TemporaryDirectory(prefix="cloudmart-") as folder:
        place = Path(folder) / "api"
        with subprocess.Popen(
            [*kubectl.command, "proxy", f"--unix-socket={place}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **kubectl.env},
        ) as process:
            try:
                _wait(process, place)
                yield Api(place)
            finally:
                process.terminate()


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


def _collection(api_version: str, namespace: str, plural: str) -> str:
    within = f"/namespaces/{namespace}" if namespace else ""
    return f"{root(api_version)}{within}/{plural}"


class _Connection(http.client.HTTPConnection):
    def __init__(self, place: Path, seconds: float | None) -> None:
        super().__init__("localhost", timeout=seconds)
        self._place = place

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._place))
