"""Changes in a cluster as they happen: each kind in each namespace is watched."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Iterable, Mapping
from types import TracebackType

from cloudmart.cluster.api import Api
from cloudmart.cluster.live import Place, Reference
from cloudmart.verify.state import Object

#: Seconds before a watch that ended begins anew.
_AGAIN_SECONDS = 1.0
#: Names and versions are enough to know of a change; so no value of a Secret comes along.
_ACCEPT = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"


class Watch:
    """Watches these places while it is open. Raises ``KubectlError`` when the API server does not answer."""

    def __init__(self, api: Api, places: Iterable[Place]) -> None:
        self._api = api
        self._places = sorted(places)
        self._changed = threading.Condition()
        #: Versions by the objects' identities: as they were looked at, and as each place told last (None: deleted).
        self._known: Mapping[str, str] = {}
        self._told: dict[Place, dict[str, str | None]] = {}
        self._closed = threading.Event()

    def __enter__(self) -> Watch:
        for place, path in self._api.paths(self._places).items():
            threading.Thread(target=self._follow, args=(place, path), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()

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

    def _follow(self, place: Place, path: str) -> None:
        while not self._closed.is_set():
            with self._changed:
                # What an earlier watch told may be out of date; the next begins with everything that is there.
                self._told[place] = {}
            with (
                contextlib.suppress(OSError, ValueError, http.client.HTTPException),
                contextlib.closing(self._api.connection(seconds=None)) as connection,
            ):
                connection.request("GET", f"{path}?watch=true", headers={"Accept": _ACCEPT})
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
