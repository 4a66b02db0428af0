"""Changes in a cluster as they happen.

One ``kubectl proxy`` signs in, as kubectl does by whatever means the kubeconfig says; through it each kind in each
namespace is watched. A kubectl for each would take 50 MiB, forty times.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType

from cloudmart.cluster.kubectl import Kubectl, KubectlError
from cloudmart.cluster.live import Reference
from cloudmart.verify.state import Object, Place

#: Seconds for the proxy to start, and before a watch that ended begins anew.
_START_SECONDS, _AGAIN_SECONDS = 10.0, 1.0
#: Names and versions are enough to know of a change; so no value of a Secret comes along.
_ACCEPT = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"


class _Connection(http.client.HTTPConnection):
    """HTTP over the proxy's socket, which stands in a folder of this user's alone."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))


class Watch:
    """Watches these places while it is open. Raises ``KubectlError`` when kubectl does not start."""

    def __init__(self, kubectl: Kubectl, places: Iterable[Place]) -> None:
        self._kubectl = kubectl
        self._places = sorted(places)
        self._changed = threading.Condition()
        #: Versions by the objects' identities: as they were looked at, and as each place told last (None: deleted).
        self._known: Mapping[str, str] = {}
        self._told: dict[Place, dict[str, str | None]] = {}
        self._open = contextlib.ExitStack()
        self._closed = threading.Event()

    def __enter__(self) -> Watch:
        with contextlib.ExitStack() as stack:
            path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cloudmart-"))) / "api"
            process = subprocess.Popen(
                [*self._kubectl.command, "proxy", f"--unix-socket={path}"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ, **self._kubectl.env},
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            deadline = time.monotonic() + _START_SECONDS
            while not path.exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise KubectlError("kubectl proxy: does not start")
                time.sleep(0.02)
            paths = _paths(path, self._places)
            stack.callback(self._closed.set)
            for place, api in paths.items():
                threading.Thread(target=self._follow, args=(place, path, api), daemon=True).start()
            self._open = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def known(self, live: Mapping[Reference, Object]) -> None:
        """What has been looked at by now: only what differs from it is a change."""
        with self._changed:
            self._known = {item["metadata"]["uid"]: item["metadata"]["resourceVersion"] for item in live.values()}

    def wait(self, seconds: float, *, settle: float) -> bool:
        """Returns upon a change, `settle` seconds after it, or after `seconds`; whether there was one."""
        with self._changed:
            changed = self._changed.wait_for(self._differs, seconds)
        if changed:
            time.sleep(settle)
        return changed

    def _differs(self) -> bool:
        return any(self._known.get(uid) != version for told in self._told.values() for uid, version in told.items())

    def _follow(self, place: Place, path: Path, api: str) -> None:
        while not self._closed.is_set():
            with self._changed:
                # What an earlier watch told may be out of date; the next begins with everything that is there.
                self._told[place] = {}
            with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
                connection = _Connection(path)
                with contextlib.closing(connection):
                    connection.request("GET", f"{api}?watch=true", headers={"Accept": _ACCEPT})
                    for line in connection.getresponse():
                        self._tell(place, json.loads(line))
            self._closed.wait(_AGAIN_SECONDS)

    def _tell(self, place: Place, event: Object) -> None:
        metadata = (event.get("object") or {}).get("metadata") or {}
        if event.get("type") in ("ADDED", "MODIFIED", "DELETED") and "uid" in metadata:
            with self._changed:
                deleted = event["type"] == "DELETED"
                self._told[place][metadata["uid"]] = None if deleted else metadata["resourceVersion"]
                self._changed.notify_all()


def _paths(path: Path, places: Iterable[Place]) -> dict[Place, str]:
    """Where the API has the objects of each place; kinds that are not served are left out."""
    found: dict[Place, str] = {}
    plurals: dict[str, dict[str, tuple[str, bool]]] = {}
    for place in places:
        api_version, kind, namespace = place
        base = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
        if api_version not in plurals:
            plurals[api_version] = _served(path, base)
        plural, namespaced = plurals[api_version].get(kind, ("", False))
        if plural and namespaced is bool(namespace):
            found[place] = f"{base}/namespaces/{namespace}/{plural}" if namespace else f"{base}/{plural}"
    return found


def _served(path: Path, base: str) -> dict[str, tuple[str, bool]]:
    """Kinds of an API version: their plural, and whether they stand in namespaces; none where it is not served."""
    try:
        with contextlib.closing(_Connection(path)) as connection:
            connection.request("GET", base)
            resources = json.loads(connection.getresponse().read()).get("resources") or ()
    except (OSError, ValueError, http.client.HTTPException):
        return {}
    return {one["kind"]: (one["name"], one["namespaced"]) for one in resources if "/" not in one["name"]}
