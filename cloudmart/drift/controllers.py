"""Who else writes to objects by right.

What a controller has set beside the declared fields is no drift. A declared field that was changed is one, whoever says
that he did it: the name of a field manager is the caller's to choose.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cloudmart.deploy import ownership
from cloudmart.drift.fields import Writer

#: Field managers, as their projects name themselves.
CONTROLLERS = frozenset(
    {
        # Kubernetes itself, its autoscalers, and the simulated nodes of the local cluster
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
        "kubelet",
        "cloud-controller-manager",
        "cluster-autoscaler",
        "kwok-controller",
        "vpa-recommender",
        "vpa-updater",
        # cert-manager: certificates and the CA bundles of webhooks
        "cert-manager-cainjector",
        "cert-manager-certificates-issuing",
        "cert-manager-certificates-trigger",
        "cert-manager-issuers",
        # Istio: CA bundles of webhooks, addresses and certificates of namespaces
        "pilot-discovery",
        "istio-operator",
        # what installs charts, and the operators of the layers
        "helm",
        "Helm",
        "argocd-application-controller",
        "argocd-controller",
        "argocd-server",
        "manager",  # of controller-runtime, unless an operator says more: CloudNativePG, Kong, Gatekeeper
        "gatekeeper",
        "strimzi-cluster-operator",
        "PrometheusOperator",
        "prometheus-operator",
        "external-secrets",
    }
)
#: What `kubectl rollout restart` and `kubectl apply` leave behind, what a namespace says that was made for a stack, and
#: what the API server itself puts on every namespace: it changes nothing that is declared.
_HARMLESS = frozenset(
    {
        ownership.PREPARED,
        "kubectl.kubernetes.io/last-applied-configuration",
        "kubectl.kubernetes.io/restartedAt",
        "kubernetes.io/metadata.name",
    }
)
#: What is made in every namespace.
_EVERYWHERE = frozenset(
    {("ServiceAccount", "default"), ("ConfigMap", "kube-root-ca.crt"), ("ConfigMap", "istio-ca-root-cert")}
)
#: Secrets that Helm and the API server keep for themselves.
_BOOKKEEPING = frozenset({"helm.sh/release.v1", "kubernetes.io/service-account-token"})


def is_controller(writer: Writer, more: frozenset[str]) -> bool:
    """Whether these fields are a controller's: by its name, one of `more`, or because they are the status."""
    return writer.subresource == "status" or writer.manager in CONTROLLERS or writer.manager in more


def is_harmless(path: tuple[object, ...]) -> bool:
    """Whether the field is one that nobody means to declare."""
    return path[0] == "status" or path[-1] in _HARMLESS


def is_made_for_others(item: Mapping[str, Any]) -> bool:
    """Whether the object follows from another one, or stands in every namespace or cluster."""
    return (
        bool(item["metadata"].get("ownerReferences"))
        or (item["kind"], item["metadata"]["name"]) in _EVERYWHERE
        or item.get("type") in _BOOKKEEPING
        or _is_of_kubernetes(item)
    )


def _is_of_kubernetes(item: Mapping[str, Any]) -> bool:
    """Whether it is one of the rights that every cluster begins with. Anybody may write their label."""
    metadata = item["metadata"]
    return (
        item["apiVersion"].startswith("rbac.authorization.k8s.io/")
        and metadata["name"].startswith(("system:", "cluster-admin"))
        and (metadata.get("labels") or {}).get("kubernetes.io/bootstrapping") == "rbac-defaults"
    )
