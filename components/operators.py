"""The operators that run stores in mode `operator`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
from pulumi_kubernetes.helm.v3 import Release
from pulumi_kubernetes.meta.v1 import LabelSelectorArgs
from pulumi_kubernetes.networking.v1 import (
    NetworkPolicyEgressRuleArgs,
    NetworkPolicyPeerArgs,
    NetworkPolicySpecArgs,
)

from cloudmart.settings import Party
from cloudmart.settings.layer import Layer
from cloudmart.settings.operators import CloudNativePgSettings, StrimziSettings
from components import network
from components.data import cloudnative_pg, strimzi
from components.layer import API_SERVER_PORTS, ChartLayer, LayerArgs, from_anywhere, layer_labels, to_ports, within
from components.operators_values import barman_cloud_values, cloudnative_pg_values, strimzi_values

_WEBHOOK_PORT = 9443
_POSTGRES_PORT = 5432


@dataclass(frozen=True, kw_only=True)
class CloudNativePgArgs(LayerArgs[CloudNativePgSettings]):
    """`home` is the namespace of the clusters that it manages."""

    home: str
    #: Where there are backups.
    backup: Layer | None = None


@dataclass(frozen=True, kw_only=True)
class StrimziArgs(LayerArgs[StrimziSettings]):
    """`home` is the namespace of the clusters that it manages."""

    home: str


def cloudnative_pg_party(settings: CloudNativePgSettings) -> Party:
    """The operator's pods, as policies name them."""
    return Party(
        name="cloudnative-pg",
        namespace=settings.namespace,
        pod_labels={"app.kubernetes.io/name": "cloudnative-pg"},
        service_account="cloudnative-pg",
    )


def strimzi_party(settings: StrimziSettings) -> Party:
    """The operator's pods, as policies name them."""
    return Party(
        name="strimzi",
        namespace=settings.namespace,
        pod_labels={"strimzi.io/kind": "cluster-operator"},
        service_account="strimzi-cluster-operator",
    )


def _to(home: str, selector: LabelSelectorArgs, ports: Sequence[int]) -> NetworkPolicySpecArgs:
    """The operator may go to the pods that it manages."""
    peer = NetworkPolicyPeerArgs(
        namespace_selector=LabelSelectorArgs(match_labels={"kubernetes.io/metadata.name": home}), pod_selector=selector
    )
    return NetworkPolicySpecArgs(
        pod_selector=LabelSelectorArgs(),
        policy_types=["Egress"],
        egress=[
            NetworkPolicyEgressRuleArgs(to=[peer], ports=[port for number in ports for port in network.tcp(number)])
        ],
    )


class CloudNativePg(ChartLayer):
    """``cloudmart:operators:CloudNativePg``

    GuardedNamespace; NetworkPolicies ``allow-api-server``, ``allow-webhook`` and ``allow-instances``, and
    ``allow-within`` where there are backups; Helm Release ``cloudnative-pg``, and ``plugin-barman-cloud`` for backups.
    """

    #: What has to be there before anything of its kinds is.
    ready: Release

    def __init__(self, name: str, args: CloudNativePgArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cloudmart:operators:CloudNativePg", name, None, opts)
        settings, chart = args.settings, args.settings.chart_of("chart")
        labels = layer_labels(args.labels, settings, app=name, component="operator", version=chart.version)
        policies = {
            "allow-api-server": to_ports(API_SERVER_PORTS),
            "allow-webhook": from_anywhere([_WEBHOOK_PORT]),
            "allow-instances": _to(
                args.home,
                cloudnative_pg.instances_selector("postgres"),
                (cloudnative_pg.STATUS_PORT, _POSTGRES_PORT),
            ),
        }
        if args.backup:
            policies["allow-within"] = within()
        self._guard(name, settings, labels, args.cluster, policies)
        self.ready = self._release(name, settings, chart, cloudnative_pg_values(settings, args.home, labels.metadata))
        if args.backup:
            self.ready = self._release(
                "plugin-barman-cloud",
                settings,
                args.backup.chart_of("chart"),
                barman_cloud_values(settings, labels.metadata),
                after=[self.ready],
            )
        self.register_outputs({"namespace": self.namespace})


class Strimzi(ChartLayer):
    """``cloudmart:operators:Strimzi``

    GuardedNamespace; NetworkPolicies ``allow-api-server`` and ``allow-brokers``; Helm Release ``strimzi``.
    """

    #: What has to be there before anything of its kinds is.
    ready: Release

    def __init__(self, name: str, args: StrimziArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cloudmart:operators:Strimzi", name, None, opts)
        settings, chart = args.settings, args.settings.chart_of("chart")
        labels = layer_labels(args.labels, settings, app=name, component="operator", version=chart.version)
        policies = {
            "allow-api-server": to_ports(API_SERVER_PORTS),
            "allow-brokers": _to(args.home, strimzi.nodes_selector("kafka"), strimzi.OPERATOR_PORTS),
        }
        self._guard(name, settings, labels, args.cluster, policies)
        self.ready = self._release(name, settings, chart, strimzi_values(settings, args.home, labels.metadata))
        self.register_outputs({"namespace": self.namespace})
