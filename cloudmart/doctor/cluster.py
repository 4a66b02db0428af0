"""A stack's cluster: does it answer, in which version, and may its user deploy there; and the charts it will have."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cloudmart.access import held
from cloudmart.access.permissions import Permission
from cloudmart.cluster import toolchain
from cloudmart.cluster.charts import ChartUnreachable, check_chart, check_manifest
from cloudmart.cluster.kubectl import Kubectl
from cloudmart.cluster.local import LocalCluster
from cloudmart.deploy.expected import Way
from cloudmart.doctor.check import Check, Topic, failed, passed, skipped, warned
from cloudmart.errors import UserError, meant
from cloudmart.settings import Settings
from cloudmart.settings.charts import Chart

#: Seconds: for one request to the API server, and for one to a chart's repository.
_SECONDS = 3
_SHOWN = 4


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """The cluster that `up` would go to: `context`, else the stack's own, else the local one."""

    settings: Settings
    context: str | None
    root: Path

    @property
    def name(self) -> str:
        """For a heading."""
        return f"context {self.asked}" if self.asked else "the local cluster"

    @property
    def asked(self) -> str | None:
        """The context; None for the local cluster."""
        return self.context or self.settings.cluster.context

    @cached_property
    def kubectl(self) -> Kubectl | str:
        """To ask it with, or why it cannot be asked."""
        program = toolchain.present_kubectl()
        if program is None:
            return "no kubectl to ask with yet"
        if self.asked:
            return Kubectl(path=program, context=self.asked)
        local = LocalCluster(self.root)
        try:
            status = local.status()
        except UserError as error:
            return str(error)
        if not status.running:
            return f"the local cluster is {status.trouble}"
        return Kubectl(path=program, kubeconfig=local.kubeconfig)

    def answers(self) -> Iterator[Check]:
        """Whether it answers, to whom, and in the version that the stack is checked against."""
        kubectl = self.kubectl
        if isinstance(kubectl, str):
            yield skipped(Topic.CLUSTER, "API server", kubectl)
            return
        try:
            found = json.loads(kubectl.run("version", "-o", "json", _timeout(), timeout=_SECONDS + 1))
            version = str(found["serverVersion"]["gitVersion"])
        except (UserError, ValueError, LookupError) as error:
            yield failed(Topic.CLUSTER, "API server", f"does not answer ({error})", self._other_context(kubectl))
            return
        yield passed(Topic.CLUSTER, "API server", f"{version} answers{_as_user(kubectl)}")
        yield self._version(version)

    def permissions(self, needed: frozenset[Permission], way: Way) -> Iterator[Check]:
        """Whether its user may do what `up` and `down` need."""
        kubectl, name = self.kubectl, "permissions"
        if isinstance(kubectl, str):
            yield skipped(Topic.CLUSTER, name, kubectl)
            return
        try:
            lacked = held.missing(lambda *args, stdin: kubectl.run(*args, _timeout(), stdin=stdin), needed)
        except (UserError, ValueError) as error:
            yield skipped(Topic.CLUSTER, name, f"cannot be asked for ({error})")
            return
        if not lacked:
            yield passed(Topic.CLUSTER, name, f"all {len(needed)} that `up` and `down` need")
            return
        shown = [_said(one) for one in lacked[:_SHOWN]]
        more = f" and {len(lacked) - _SHOWN} more" if len(lacked) > _SHOWN else ""
        yield failed(
            Topic.CLUSTER,
            name,
            f"{len(lacked)} of {len(needed)} are missing: {', '.join(shown)}{more}",
            f"have an administrator apply what `cloudmart access role --stack {self.settings.stack} --way {way} "
            "--subject user:NAME` prints",
        )

    def charts(self) -> Iterator[Check]:
        """Whether each chart and manifest of the stack's layers can be had."""
        layers = {**self.settings.layers, **self.settings.guests}
        tasks: list[tuple[str, str, Chart | str]] = []
        for key, layer in layers.items():
            tasks += [(key, source, chart) for source, chart in layer.charts.items()]
            tasks += [(key, source, place) for source, place in layer.manifests.items()]

        def reach(key: str, source: str, what: Chart | str) -> Check:
            name, off = f"{key}.{source}", Settings.switch(key)
            try:
                if isinstance(what, str):
                    check_manifest(what, self.root, key=f"cloudmart:{name}", timeout=_SECONDS)
                else:
                    check_chart(what, self.root, key=f"cloudmart:{key}", off=off, source=source, timeout=_SECONDS)
            except ChartUnreachable as error:
                seen = str(error).partition("; set ")[0]
                mend = f"set cloudmart:{name} to a copy within reach, or {off}"
                if self.asked:
                    return failed(Topic.CHARTS, name, seen, mend)
                return warned(Topic.CHARTS, name, f"{seen}; `up` leaves the layer out", mend)
            return passed(Topic.CHARTS, name, f"{what} can be had")

        if not tasks:
            yield skipped(Topic.CHARTS, "charts", f"stack {self.settings.stack} has none")
        with ThreadPoolExecutor(max(len(tasks), 1)) as pool:
            yield from pool.map(lambda task: reach(*task), tasks)

    def _version(self, version: str) -> Check:
        wanted = self.settings.cluster.kubernetes_version
        name = "version"
        if version.startswith(f"v{wanted}."):
            return passed(Topic.CLUSTER, name, f"{wanted}, as cluster.kubernetesVersion says")
        minor = ".".join(version.removeprefix("v").split(".")[:2])
        return warned(
            Topic.CLUSTER,
            name,
            f"{version}, but `preview` checks against {wanted} (cluster.kubernetesVersion)",
            f'set cluster.kubernetesVersion: "{minor}" for the stack',
        )

    def _other_context(self, kubectl: Kubectl) -> str:
        if not self.asked:
            return "cloudmart local start"
        try:
            known = kubectl.run("config", "get-contexts", "-o", "name", timeout=_SECONDS).split()
        except UserError:
            known = []
        if self.asked in known:
            return "is it there, and are you logged in?"
        return f"context {self.asked!r} is not in your kubeconfig{meant(self.asked, known)}; --context names another"


def _timeout() -> str:
    return f"--request-timeout={_SECONDS}s"


def _as_user(kubectl: Kubectl) -> str:
    try:
        name = held.user(lambda *args, stdin: kubectl.run(*args, _timeout(), stdin=stdin))
    except (UserError, ValueError):
        return ""  # an API server from before there was this question
    return f" to {name}"


def _said(one: Permission) -> str:
    resource = f"{one.resource}.{one.group}" if one.group else one.resource
    named = f" {one.name}" if one.name else ""
    return f"{one.verb} {resource}{named} {f'in {one.namespace}' if one.namespace else 'in the cluster'}"
