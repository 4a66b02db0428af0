"""`cloudmart up` and `cloudmart down`: pick the cluster, pick the way, deploy, wait, show."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pulumi import automation

from cloudmart.cluster import crds, toolchain
from cloudmart.cluster.charts import ChartUnreachable, check_chart, check_manifest
from cloudmart.cluster.contexts import in_context
from cloudmart.cluster.kubectl import Kubectl
from cloudmart.cluster.local import LocalCluster
from cloudmart.deploy import applyset, kinds, ownership, replicas, room
from cloudmart.deploy.engine import Engine, NoCli, find_cli
from cloudmart.deploy.lease import Lease
from cloudmart.deploy.rollout import wait_until_available
from cloudmart.errors import UserError
from cloudmart.preview.recorder import Recording, overridden, record
from cloudmart.settings import Settings, load
from cloudmart.settings.gateway import ServiceType

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Target:
    """The cluster that a run goes to."""

    kubectl: Kubectl
    #: Whether it is the embedded one, where pods are simulated.
    local: bool


@dataclass(frozen=True, kw_only=True)
class Deployed:
    """What `up` did, and with what."""

    settings: Settings
    target: Target
    #: What was deployed; what was left out is not in it.
    recording: Recording
    #: Plain Pulumi's environment, where the engine did it; empty otherwise.
    environment: Mapping[str, str]


def up(stack: str, context: str | None, root: Path, progress: Progress, *, refresh: bool = False) -> Deployed:
    """Deploys a stack and waits until every workload is Available.

    With `refresh` the engine looks at the live objects first; without an engine that is always so.

    Raises ``UserError`` before anything is changed for bad settings, a chart that cannot be had, a mandatory policy
    violation, and without a CLI for kinds that the cluster does not serve (the local cluster goes on without those);
    after that for what the cluster refuses or does not get ready. May be repeated after any of them.
    """
    settings = load(stack, root)
    # First the cluster: for one that there is not no CLI has to be downloaded.
    target = target_of(settings, context, root, progress)
    cli = find_cli(root, progress)
    overrides = left_out(settings, target, root, cli, progress)
    if context is not None:
        overrides["cloudmart:cluster"] = {"context": context}
    recording = record(stack, root, overrides=overrides)
    wider = room.until_rolled_out(recording, settings, target.kubectl)
    if wider:
        progress("the quota gets smaller: first without that, as old and new pods have to fit in together")
        more = overridden(overrides, wider)
        _deploy(cli, settings, target, root, more, record(stack, root, overrides=more), progress, refresh=refresh)
    recording, environment = _deploy(cli, settings, target, root, overrides, recording, progress, refresh=refresh)
    return Deployed(settings=settings, target=target, recording=recording, environment=environment)


def _deploy(
    cli: automation.PulumiCommand | NoCli,
    settings: Settings,
    target: Target,
    root: Path,
    overrides: Mapping[str, Any],
    recording: Recording,
    progress: Progress,
    *,
    refresh: bool,
) -> tuple[Recording, Mapping[str, str]]:
    """Deploys once and waits; what was deployed, and plain Pulumi's environment."""
    stack = settings.stack
    if isinstance(cli, NoCli):
        progress(
            f"{cli.reason}: applying what the program declares without the engine, "
            "for trying out (no state, no history, no policy check on the way)"
        )

        def teach() -> None:
            # Only here: the engine installs charts, and most bring their kinds themselves.
            crds.install(LocalCluster(root), progress)

        recording, scopes = kinds.served_part(
            recording, target.kubectl, local=target.local, progress=progress, teach=teach if target.local else None
        )
        with applyset.lease(target.kubectl, settings.namespace.name, stack, "up", progress) as lease:
            _apply(recording, settings, target, scopes, lease, progress)
            wait_until_available(recording, target.kubectl, progress)
        return recording, {}
    engine = _engine(cli, settings, target, root, overrides)
    if engine.recover(progress):
        progress(f"the state of stack {stack} is older than its last run: it learns from the cluster first")
        refresh = True
    ownership.refuse_foreign(
        target.kubectl,
        ownership.declared(recording, "Namespace", "PriorityClass"),
        project=settings.project,
        stack=stack,
        held=engine.held,
    )
    if applyset.was_applied(target.kubectl, settings.namespace.name):
        raise UserError(
            f"namespace {settings.namespace.name}: found one that was made without the Pulumi CLI; allowed: none, "
            f"or one that Pulumi made. Take it away first: `cloudmart down --stack {stack} --delete-data`"
        )
    if not refresh and _is_elsewhere(engine, target.kubectl, settings.namespace.name):
        if not target.local:
            raise UserError(
                f"namespace {settings.namespace.name}: found none in this cluster, and one in the state of stack "
                f"{stack}; allowed: the cluster that the stack was deployed to. If it is that one, or if the stack "
                f"has moved here, `cloudmart up --stack {stack} --refresh` makes all of it anew"
            )
        progress(
            f"namespace {settings.namespace.name} is gone from the local cluster: the stack's state learns that first"
        )
        refresh = True
    progress(f"pulumi {cli.version}: preview with the policy pack, then up")

    def delete_autoscaler(namespace: str, name: str) -> None:
        target.kubectl.run("delete", "hpa", name, f"--namespace={namespace}", "--ignore-not-found", "--wait=false")
        # It may have scaled once more since.
        replicas.release(target.kubectl, recording, held=engine.held)

    replicas.release(target.kubectl, recording, held=engine.held)
    with engine.disk_room():
        engine.up(progress, delete_autoscaler=delete_autoscaler, refresh=refresh)
    wait_until_available(recording, target.kubectl, progress)
    return recording, engine.environment()


def _apply(
    recording: Recording, settings: Settings, target: Target, scopes: kinds.Scopes, lease: Lease, progress: Progress
) -> None:
    started = time.monotonic()
    progress(f"applying {sum(one.is_kubernetes_object for one in recording.resources)} objects")
    applied = applyset.apply(recording, target.kubectl, settings.namespace.name, scopes, lease)
    for word, names in (("created", applied.created), ("changed", applied.changed), ("removed", applied.removed)):
        for name in names:
            progress(f"{word} {name}")
    progress(
        f"{len(applied.created)} created, {len(applied.changed)} changed, {len(applied.removed)} removed, "
        f"{applied.unchanged} unchanged ({time.monotonic() - started:.0f} s)"
    )


def down(stack: str, context: str | None, root: Path, progress: Progress, *, delete_data: bool) -> Sequence[str]:
    """Takes a stack away; names what is left, because it is retained.

    Raises ``UserError`` when a resource is protected, and for data in a namespace that is not the shop's (nothing is
    deleted then).
    """
    settings = load(stack, root)
    target = target_of(settings, context, root, progress)
    cli = find_cli(root, progress)
    kubectl, namespace = target.kubectl, settings.namespace.name
    if applyset.was_applied(kubectl, namespace) or isinstance(cli, NoCli):
        if isinstance(cli, NoCli):
            progress(f"{cli.reason}: removing what was applied without the engine")
        with applyset.lease(kubectl, namespace, stack, "down", progress) as lease:
            removed = applyset.remove(record(stack, root), kubectl, namespace, lease, delete_data=delete_data)
        for name in removed.removed:
            progress(f"removed {name}")
    else:
        overrides = {"cloudmart:cluster": {"context": context}} if context is not None else {}
        engine = _engine(cli, settings, target, root, overrides)
        if engine.recover(progress):
            raise UserError(
                f"stack {stack}: found a state that is older than the last run; allowed: one that knows what is live, "
                f"or some of that would stay. `cloudmart up --stack {stack}` first, then this again"
            )
        if delete_data:
            ours = [("Namespace", namespace)]
            ownership.refuse_foreign(kubectl, ours, project=settings.project, stack=stack, held=engine.held)
        if not engine.exists():
            progress(f"stack {stack}: the backend knows none; nothing to destroy")
        else:
            with engine.disk_room():
                engine.destroy(progress)
        if delete_data:
            kubectl.run("delete", "namespace", namespace, "--ignore-not-found", "--wait=true", timeout=300)
    return _left(kubectl, namespace)


def claims(kubectl: Kubectl, namespace: str) -> Sequence[str]:
    """Names of the volume claims in a namespace: the data."""
    listed = kubectl.run("get", "persistentvolumeclaims", f"--namespace={namespace}", "-o", "name")
    return [line.rsplit("/", 1)[-1] for line in listed.splitlines()]


def _is_there(kubectl: Kubectl, namespace: str) -> bool:
    return bool(kubectl.run("get", "namespace", namespace, "--ignore-not-found", "-o", "name"))


def _is_elsewhere(engine: Engine, kubectl: Kubectl, namespace: str) -> bool:
    """Whether the stack's state has the shop, and the cluster does not: the engine compares with the state, and would
    find nothing to do."""
    return not _is_there(kubectl, namespace) and ("Namespace", namespace) in engine.held()


def _left(kubectl: Kubectl, namespace: str) -> Sequence[str]:
    if not _is_there(kubectl, namespace):
        return []
    return [f"namespace {namespace}", *(f"claim {name}" for name in claims(kubectl, namespace))]


def data_at_risk(stack: str, context: str | None, root: Path, progress: Progress) -> Sequence[str]:
    """The claims that `down --delete-data` would delete."""
    settings = load(stack, root)
    return claims(target_of(settings, context, root, progress).kubectl, settings.namespace.name)


def target_of(settings: Settings, context: str | None, root: Path, progress: Progress) -> Target:
    """The context that was given, else the stack's own, else the local cluster, started if need be."""
    kubectl = in_context(settings.stack, root, context)
    if kubectl is not None:
        kubectl.run("version", "--request-timeout=10s", timeout=20)
        return Target(kubectl=kubectl, local=False)
    info = LocalCluster(root).start(progress)
    return Target(kubectl=Kubectl(path=toolchain.kubectl(), kubeconfig=info.kubeconfig), local=True)


def left_out(
    settings: Settings, target: Target, root: Path, cli: automation.PulumiCommand | NoCli | None, progress: Progress
) -> dict[str, dict[str, Any]]:
    """Overrides that switch off each layer whose charts cannot be had; a store then runs as a single one.

    Only on the local cluster: an environment without one of its layers is not what was asked for, so there it is an
    error.
    """
    overrides = _instead(settings, root, progress) if target.local else {}
    for key, layer in {**settings.layers, **settings.guests}.items():
        given = overrides.get(f"cloudmart:{key}", {})
        try:
            for source, chart in layer.charts.items():
                if isinstance(cli, NoCli):
                    raise ChartUnreachable(f"chart {chart}: Helm releases need the Pulumi CLI")
                check_chart(chart, root, key=f"cloudmart:{key}", off=Settings.switch(key), source=source)
            for source, place in layer.manifests.items():
                if source.partition(".")[0] not in given:
                    check_manifest(place, root, key=f"cloudmart:{key}.{source}")
        except ChartUnreachable as error:
            if not target.local and isinstance(cli, NoCli):
                raise UserError(
                    f"Pulumi.{settings.stack}.yaml: config.cloudmart:{key}: found a layer that is on, but Helm "
                    f"releases need the Pulumi CLI ({cli.reason}); install it, or switch the layer off"
                ) from None
            if not target.local:
                raise
            off = Settings.without(key)
            single = [store for store, part in off.get("data", {}).items() if "mode" in part]
            progress(f"{key} is left out{''.join(f', and {store} runs as a single one' for store in single)}: {error}")
            _merge(overrides, {f"cloudmart:{top}": part for top, part in off.items()})
        else:
            if target.local and key in settings.layers:
                # The local cluster may know the custom kinds already, which a chart brings too.
                _merge(overrides, _at(f"cloudmart:{key}.takeOwnership", value=True))
    return overrides


def _at(path: str, value: object) -> dict[str, Any]:
    """``a.b`` and 1 make ``{a: {b: 1}}``."""
    top, _, below = path.partition(".")
    return {top: _at(below, value) if below else value}


def _instead(settings: Settings, root: Path, progress: Progress) -> dict[str, dict[str, Any]]:
    """Overrides for what the local cluster has in another way: nobody gives it a load balancer, and the Gateway API's
    definitions are those that it knows already, or that a registry has given."""
    gateway = settings.gateway
    found: dict[str, Any] = {}
    if gateway.enabled and gateway.service.type is ServiceType.LOAD_BALANCER:
        progress("gateway: the local cluster has no load balancers; its Service is one of type ClusterIP")
        found["service"] = {"type": ServiceType.CLUSTER_IP.value}
    if gateway.enabled and gateway.crds.install:
        if "gateway-api" in crds.taught(LocalCluster(root)):
            found["crds"] = {"install": False}
        elif (file := crds.folder() / "gateway-api.yaml").is_file():
            found["crds"] = {"source": str(file)}
    return {"cloudmart:gateway": found} if found else {}


def _merge(into: dict[str, Any], over: Mapping[str, Any]) -> None:
    for key, value in over.items():
        if isinstance(value, dict):
            _merge(into.setdefault(key, {}), value)
        else:
            into[key] = value


def _engine(
    cli: automation.PulumiCommand,
    settings: Settings,
    target: Target,
    root: Path,
    overrides: Mapping[str, Mapping[str, Any]],
) -> Engine:
    return Engine(cli=cli, root=root, stack=settings.stack, kubeconfig=target.kubectl.kubeconfig, overrides=overrides)
