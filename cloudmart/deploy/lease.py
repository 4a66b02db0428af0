"""One run at a time on a stack that is deployed without a Pulumi CLI: a Lease in the shop's namespace, held while it
changes something there.

Each call is one request of its own (``--raw``), so that little can go wrong with it.
"""

from __future__ import annotations

import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from cloudmart.cluster.kubectl import Kubectl, KubectlError
from cloudmart.deploy import processes
from cloudmart.errors import UserError

GROUP = "coordination.k8s.io"
#: Seconds after which a Lease that nobody renews is free.
SECONDS = 30
#: It is renewed so often, and one call may take so long.
_RENEWED, _PATIENCE = 5.0, 10.0
#: Seconds for which one that looks expired is looked at: the clocks of two machines may differ by minutes.
_OBSERVED = 2 * _RENEWED + 1
#: Somebody else may write it between our get and our write; so many times in a row is no accident.
_ATTEMPTS = 3
#: Which processes the number of the holder's is one of, that number, and what it does.
_MACHINE, _PROCESS, _COMMAND = "cloudmart/machine", "cloudmart/process", "cloudmart/command"

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Who holds a Lease, as it says itself."""

    identity: str
    command: str
    machine: str
    pid: int
    acquired: datetime
    renewed: datetime
    #: After how many seconds without a renewal it is free.
    seconds: int

    @classmethod
    def of(cls, lease: Mapping[str, Any]) -> Holder | None:
        """None for a Lease that is free, or that does not say who holds it since when."""
        spec, annotations = lease.get("spec") or {}, lease["metadata"].get("annotations") or {}
        pid = annotations.get(_PROCESS, "")
        try:
            return cls(
                identity=spec["holderIdentity"],
                command=annotations.get(_COMMAND, "run"),
                machine=annotations.get(_MACHINE, ""),
                pid=int(pid) if pid.isdecimal() else 0,
                acquired=datetime.fromisoformat(spec["acquireTime"]).astimezone(UTC),
                renewed=datetime.fromisoformat(spec["renewTime"]).astimezone(UTC),
                seconds=int(spec["leaseDurationSeconds"]),
            )
        except (LookupError, TypeError, ValueError):
            return None

    @property
    def left(self) -> float:
        """Seconds until it expires, by this machine's clock."""
        return self.seconds - (datetime.now(UTC) - self.renewed).total_seconds()

    @property
    def is_dead(self) -> bool:
        """Whether it was a process of this machine that is no more, or an earlier run in this process."""
        if self.machine != processes.machine():
            return False
        return self.pid == os.getpid() or processes.is_over(self.pid, self.acquired.timestamp())

    @property
    def label(self) -> str:
        """For messages."""
        name = self.identity.rpartition(":")[0] or self.identity
        return f"{name}, since {self.acquired:%Y-%m-%d %H:%M:%S} UTC"


class Lease:
    """Held from :meth:`take` until the end of the ``with`` block, however that ends.

    `name` is in `namespace`, `command` what people call what is done.
    """

    def __init__(
        self, kubectl: Kubectl, namespace: str, name: str, *, stack: str, command: str, progress: Progress
    ) -> None:
        self._kubectl, self._stack, self._command, self._progress = kubectl, stack, command, progress
        self._metadata = {"name": name, "namespace": namespace}
        self._all = f"/apis/{GROUP}/v1/namespaces/{namespace}/leases"
        self._one = f"{self._all}/{name}"
        self._identity = f"{processes.who()}, process {os.getpid()}:{secrets.token_hex(4)}"
        self._acquired = ""
        self._asked = False
        self._lost: UserError | None = None
        self._over = threading.Event()
        self._renewing = threading.Thread(target=self._renew, daemon=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        if self._renewing.is_alive():
            self._renewing.join()
        if not self._asked:
            return
        try:
            # Also where taking it failed: what the API server did may be more than it could say.
            self._write({"leaseDurationSeconds": 1})
        except KubectlError as failed:
            if "orbidden" in str(failed) and error is None:
                raise
            self._progress(f"the lease {self._metadata['name']} could not be given back: {failed}")

    def take(self) -> None:
        """Makes it ours, and keeps it so. The namespace must be there.

        Raises ``UserError`` at once where somebody else holds it, who is alive or may be.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            found = self._get()
            if found is not None:
                self._require_free(found)
            self._acquired = _now()
            self._asked = True
            try:
                self._put(found, self._held())
            except KubectlError as error:
                if attempt == _ATTEMPTS or not any(word in str(error) for word in ("AlreadyExists", "Conflict")):
                    raise
            else:
                break
        self._renewing.start()

    def require(self) -> None:
        """Raises ``UserError`` once somebody else has taken it over, as after minutes in which this process slept."""
        if self._lost is not None:
            raise self._lost

    # --- whose it is ----------------------------------------------------------------------------------------------

    def _require_free(self, lease: Mapping[str, Any]) -> None:
        holder = Holder.of(lease)
        if holder is None:
            return
        if holder.is_dead:
            self._progress(
                f"the last {holder.command} did not end by itself ({holder.label}): this one takes its place"
            )
            return
        if holder.left > 0:
            raise self._busy(holder)
        self._progress(f"waiting {_OBSERVED:.0f} s for a sign of life of another {holder.command} ({holder.label})")
        time.sleep(_OBSERVED)
        now = Holder.of(self._get() or lease)
        if now is not None and now != holder:
            raise self._busy(now)

    def _busy(self, holder: Holder) -> UserError:
        left = holder.left if holder.left > 0 else holder.seconds
        return UserError(
            f"stack {self._stack}: found another {holder.command} under way ({holder.label}); allowed: one at a time. "
            f"If that one was killed, its lease expires by itself in {max(1, round(left))} s: run again then"
        )

    def _renew(self) -> None:
        while not self._over.wait(_RENEWED):
            try:
                ours = self._write(self._held())
            except KubectlError:
                continue  # the API server may be away for a moment; the next call has its turn
            if not ours:
                self._lost = UserError(
                    f"stack {self._stack}: found that another run has taken over, because this one gave no sign of "
                    f"life for {SECONDS} s; allowed: one at a time. Run up again when that one is over"
                )
                return

    # --- the object -----------------------------------------------------------------------------------------------

    def _held(self) -> dict[str, Any]:
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": SECONDS,
            "acquireTime": self._acquired,
            "renewTime": _now(),
        }

    def _write(self, spec: Mapping[str, Any]) -> bool:
        """Writes a new spec where it is ours; whether it was."""
        found = self._get()
        if found is None or (found.get("spec") or {}).get("holderIdentity") != self._identity:
            return False
        self._put(found, spec)
        return True

    def _get(self) -> Any:
        try:
            return json.loads(self._kubectl.run("get", "--raw", self._one, timeout=_PATIENCE))
        except KubectlError as error:
            if "NotFound" in str(error):
                return None
            raise

    def _put(self, found: Mapping[str, Any] | None, spec: Mapping[str, Any]) -> None:
        """Writes it in place of what was found, which must still be there as it was; None makes it."""
        held = "holderIdentity" in spec
        ours = {_MACHINE: processes.machine(), _PROCESS: str(os.getpid()), _COMMAND: self._command}
        metadata: dict[str, Any] = {**self._metadata, "annotations": ours if held else {}}
        verb, where = "create", self._all
        if found is not None:
            metadata["resourceVersion"] = found["metadata"]["resourceVersion"]
            verb, where = "replace", self._one
        lease = {"apiVersion": f"{GROUP}/v1", "kind": "Lease", "metadata": metadata, "spec": dict(spec)}
        self._kubectl.run(verb, "--raw", where, "-f", "-", stdin=json.dumps(lease), timeout=_PATIENCE)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
