"""Argo CD, and the one Application that holds this stack against its rendered manifests in Git.

Argo CD delivers what `cloudmart render` wrote, but for its own namespace: what is in the repository cannot widen what
the repository may do. Secrets and Helm releases are in no manifest; they are Pulumi's alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pulumi
from pulumi_kubernetes.meta.v1 import LabelSelectorArgs, LabelSelectorRequirementArgs, ObjectMetaArgs
from pulumi_kubernetes.networking.v1 import NetworkPolicySpecArgs

from cloudmart.settings.gitops import GitOpsSettings, Repository, SyncMode
from components import network
from components.custom import CustomObject
from components.gitops_values import RELEASE, TRIGGERS, WEBHOOK, argo_cd_values
from components.layer import API_SERVER_PORTS, ChartLayer, LayerArgs, layer_labels, to_ports, within
from components.specs import argo

_IN_CLUSTER = "https://kubernetes.default.svc"
_NAME = "app.kubernetes.io/name"
_REPO_SERVER = f"{RELEASE}-repo-server"


@dataclass(frozen=True, order=True)
class _Object:
    """What a project must know of an object: the name only where the object belongs to no namespace."""

    group: str
    kind: str
    name: str | None = None


@dataclass
class Delivered:
    """What the program has registered so far and `cloudmart render` writes: every kind, and what is cluster-wide by
    name. Give `note` as a transformation to the resource at the top."""

    namespaced: set[_Object] = field(default_factory=set)
    cluster_wide: set[_Object] = field(default_factory=set)
    resources: list[pulumi.Resource] = field(default_factory=list)

    def note(self, args: pulumi.ResourceTransformationArgs) -> None:
        """Takes note of a resource, and leaves it as it is."""
        kind = args.props.get("kind")
        # Helm releases and the like are no objects; Secrets are in no manifest.
        if not args.type_.startswith("kubernetes:") or args.type_.rsplit(":", 1)[-1] != kind or kind == "Secret":
            return
        self.resources.append(args.resource)
        version = args.props.get("api_version") or args.props.get("apiVersion")
        group = str(version).rpartition("/")[0]
        metadata: Any = args.props["metadata"]
        if metadata.namespace is None:
            self.cluster_wide.add(_Object(group, kind, metadata.name))
        else:
            self.namespaced.add(_Object(group, kind))

    @property
    def namespaces(self) -> list[str]:
        """The namespaces that were made."""
        return sorted(str(found.name) for found in self.cluster_wide if (found.group, found.kind) == ("", "Namespace"))


@dataclass(frozen=True, kw_only=True)
class GitOpsArgs(LayerArgs[GitOpsSettings]):
    """`home` is the shop's namespace; `scaled` are its Deployments whose replicas are an autoscaler's."""

    project: str
    stack: str
    home: str
    scaled: Iterable[str]
    delivered: Delivered
    priority_class: pulumi.Input[str]


class GitOps(ChartLayer):
    """``cloudmart:gitops:GitOps``

    GuardedNamespace; NetworkPolicies ``allow-within``, ``allow-api-server``, ``allow-git``; Helm Release ``argocd``;
    AppProject ``<project>``; Application ``<project>-<stack>``.

    Make it last: the AppProject allows what was registered before.
    """

    def __init__(self, name: str, args: GitOpsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cloudmart:gitops:GitOps", name, None, opts)
        settings = args.settings
        repository = settings.repository
        assert repository is not None  # noqa: S101 - validated, as the layer is on
        # Before anything is made here: Argo CD's own namespace is not delivered.
        delivered = list(args.delivered.resources)
        project_spec = _project(args, repository)
        chart = settings.chart_of("chart")
        labels = layer_labels(args.labels, settings, app="argo-cd", component="delivery", version=chart.version)
        self._guard(name, settings, labels, args.cluster, _network_policies(repository))
        release = self._release(
            RELEASE,
            settings,
            chart,
            argo_cd_values(settings, labels=labels.metadata, priority_class=args.priority_class),
        )

        def metadata(object_name: str, annotations: Mapping[str, str] | None = None) -> ObjectMetaArgs:
            return ObjectMetaArgs(
                name=object_name, namespace=self.namespace, labels=labels.metadata, annotations=annotations
            )

        project = CustomObject(
            f"{args.project}-delivery",
            argo.APP_PROJECT,
            metadata=metadata(args.project),
            spec=project_spec,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[release]),
        )
        application = f"{args.project}-{args.stack}"
        CustomObject(
            application,
            argo.APPLICATION,
            metadata=metadata(application, _subscriptions() if settings.notifications.enabled else None),
            spec=_application(args, repository),
            # Last to come, so that nothing is compared that is still being made, and first to go: else a self-healing
            # one would bring back what `destroy` takes away.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[project, *delivered]),
        )
        self.register_outputs({"namespace": self.namespace})


def _project(args: GitOpsArgs, repository: Repository) -> argo.AppProjectSpec:
    delivered = args.delivered
    return argo.AppProjectSpec(
        description=f"What Git may bring into the cluster for {args.project}",
        source_repos=[repository.url],
        destinations=[argo.Destination(server=_IN_CLUSTER, namespace=name) for name in delivered.namespaces],
        cluster_resource_whitelist=[
            argo.ClusterObject(group=found.group, kind=found.kind, name=found.name)
            for found in sorted(delivered.cluster_wide)
        ],
        namespace_resource_whitelist=[
            argo.GroupKind(group=found.group, kind=found.kind) for found in sorted(delivered.namespaced)
        ],
        orphaned_resources=argo.OrphanedResources(warn=True),
    )


def _application(args: GitOpsArgs, repository: Repository) -> argo.ApplicationSpec:
    settings, sync = args.settings, args.settings.sync
    automated = sync.mode is SyncMode.AUTOMATED
    return argo.ApplicationSpec(
        project=args.project,
        source=argo.Source(
            repo_url=repository.url,
            target_revision=repository.revision,
            path=f"{repository.path}/{args.stack}",
            directory=argo.Directory(
                recurse=True,
                # A rendered object's file is in a folder; what else may lie beside the folders is none.
                include="*/*.yaml",
                exclude=f"{{{settings.namespace}/*,_cluster/namespace-{settings.namespace}.yaml}}",
            ),
        ),
        destination=argo.Destination(server=_IN_CLUSTER, namespace=args.home),
        sync_policy=argo.SyncPolicy(
            automated=argo.Automated(prune=sync.prune, self_heal=sync.self_heal) if automated else None,
            sync_options=[
                # As Pulumi does it: each owns the fields that it sets, and the same value is no conflict.
                "ServerSideApply=true",
                # Namespaces have guard rails, so they are made by whoever makes those.
                "CreateNamespace=false",
                "ApplyOutOfSyncOnly=true",
                "RespectIgnoreDifferences=true",
                # With some objects go their data. Nothing is deleted before somebody has confirmed it, and nothing at
                # all because the Application is.
                "Prune=confirm",
                "Delete=false",
                # And at the end: the waves would wait for that person in the middle, with half of a change applied.
                "PruneLast=true",
            ],
            retry=argo.Retry(limit=5, refresh=True, backoff=argo.Backoff(duration="10s", factor=2, max_duration="5m")),
        ),
        ignore_differences=[
            # The manifests leave it out. Should it come into Git by hand, the autoscaler still has the last word.
            argo.IgnoredDifference(
                group="apps", kind="Deployment", namespace=args.home, name=name, json_pointers=["/spec/replicas"]
            )
            for name in args.scaled
        ],
        revision_history_limit=5,
    )


def _subscriptions() -> dict[str, str]:
    return {f"notifications.argoproj.io/subscribe.{trigger}.{WEBHOOK}": "" for trigger in TRIGGERS}


def _network_policies(repository: Repository) -> dict[str, NetworkPolicySpecArgs]:
    """Nobody comes in: people use the web pages by `kubectl port-forward`."""
    return {
        "allow-within": within(),
        # Messages to a webhook go to one of these ports as well.
        "allow-api-server": to_ports(
            API_SERVER_PORTS,
            LabelSelectorArgs(
                match_expressions=[
                    LabelSelectorRequirementArgs(key=_NAME, operator="NotIn", values=[_REPO_SERVER, f"{RELEASE}-redis"])
                ]
            ),
        ),
        "allow-git": NetworkPolicySpecArgs(
            pod_selector=LabelSelectorArgs(match_labels={_NAME: _REPO_SERVER}),
            policy_types=["Egress"],
            egress=[network.egress_outside(repository.cidrs, repository.port)],
        ),
    }
