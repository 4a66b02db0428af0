"""Values of chart ``argo-cd``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi

from cloudmart.settings.gitops import GitOpsSettings
from components.labels import cost_labels
from components.layer import resources

#: Name of the release; the chart builds its objects' names from it, with ``-argocd`` where it is not in it.
RELEASE = "argocd"

#: What Argo CD tells of an Application, by the trigger's name: when, and the text.
TRIGGERS = {
    "on-drift": ("app.status.sync.status == 'OutOfSync'", "the cluster differs from what Git says"),
    "on-failure": ("app.status?.operationState.phase in ['Error', 'Failed']", "a sync has failed"),
    "on-degraded": ("app.status.health.status == 'Degraded'", "something that was delivered is not healthy"),
}
#: The service by which it tells.
WEBHOOK = "webhook"

# What the API server or controllers make by themselves, in numbers: of no use in a comparison with Git. And Secrets:
# they are never in Git, so Argo CD need not know what is in them.
_UNSEEN = """\
- apiGroups: ["", discovery.k8s.io]
  kinds: [Endpoints, EndpointSlice]
- apiGroups: [""]
  kinds: [Secret, Event]
- apiGroups: [events.k8s.io]
  kinds: [Event]
- apiGroups: [coordination.k8s.io]
  kinds: [Lease]
- apiGroups: [authentication.k8s.io, authorization.k8s.io]
  kinds: ["*"]
- apiGroups: [certificates.k8s.io, cert-manager.io]
  kinds: [CertificateSigningRequest, CertificateRequest]
- apiGroups: [cilium.io]
  kinds: [CiliumIdentity, CiliumEndpoint, CiliumEndpointSlice]
- apiGroups: [metrics.k8s.io]
  kinds: ["*"]
- apiGroups: [autoscaling.k8s.io]
  kinds: [VerticalPodAutoscalerCheckpoint]
"""


def argo_cd_values(
    settings: GitOpsSettings, *, labels: Mapping[str, str], priority_class: pulumi.Input[str]
) -> dict[str, Any]:
    """Values of chart ``argo-cd``: without single sign-on (Dex) and without ApplicationSets, which nothing here uses.

    Settings whose keys hold dots go into ConfigMaps as they are, so each is text.
    """
    repository, notifications = settings.repository, settings.notifications
    payer = cost_labels(labels)
    return {
        "crds": {"install": True, "keep": True, "additionalLabels": payer},
        "global": {
            "additionalLabels": payer,
            "podLabels": payer,
            "priorityClassName": priority_class,
            # The layer's own say more: the chart's let anybody in to the web pages, and everything out.
            "networkPolicy": {"create": False},
        },
        "configs": {
            "cm": {
                "admin.enabled": str(settings.admin).lower(),
                # Not by label: labels are ours, and copied to what controllers make.
                "application.resourceTrackingMethod": "annotation",
                "resource.exclusions": _UNSEEN,
                "timeout.reconciliation": f"{settings.reconcile_seconds}s",
            },
            "params": {
                # The API server says what an apply would change. Comparing by oneself takes its defaults for drift.
                "controller.diff.server.side": "true",
                "server.insecure": "false",
            },
            "ssh": {"extraHosts": "\n".join(repository.known_hosts if repository else ())},
        },
        "controller": {"replicas": 1, "resources": resources(settings.controller)},
        "repoServer": {
            "replicas": settings.repo_server.replicas,
            # The init container copyutil takes the same.
            "resources": resources(settings.repo_server),
            "pdb": _disruption_budget(settings.repo_server.replicas),
            # It handles what others wrote, and has no business with the API server.
            "automountServiceAccountToken": False,
        },
        "server": {
            "replicas": settings.server.replicas,
            "resources": resources(settings.server),
            "pdb": _disruption_budget(settings.server.replicas),
        },
        "redis": {"resources": resources(settings.redis), "automountServiceAccountToken": False},
        "redisSecretInit": {"resources": resources(settings.secret_init)},
        "dex": {"enabled": False},
        # The chart has no switch for it. The resources are for whoever scales it up by hand.
        "applicationSet": {"replicas": 0, "resources": resources(settings.secret_init)},
        "notifications": {"enabled": notifications.enabled}
        | (_notifications(settings) if notifications.enabled else {}),
    }


def _disruption_budget(replicas: int) -> dict[str, Any]:
    # Of one pod, it would block every drain of its node.
    return {"enabled": True, "maxUnavailable": 1} if replicas > 1 else {"enabled": False}


def _notifications(settings: GitOpsSettings) -> dict[str, Any]:
    return {
        "resources": resources(settings.notifications.controller),
        "secret": {"create": False, "name": settings.notifications.secret},
        # `$url` is a key of the Secret.
        "notifiers": {
            f"service.webhook.{WEBHOOK}": "url: $url\nheaders:\n- {name: Content-Type, value: application/json}\n"
        },
        "templates": {
            f"template.{name}": (
                f"webhook:\n  {WEBHOOK}:\n    method: POST\n"
                f'    body: \'{{"text": "{{{{.app.metadata.name}}}}: {text}"}}\'\n'
            )
            for name, (_, text) in TRIGGERS.items()
        },
        "triggers": {f"trigger.{name}": f"- when: {when}\n  send: [{name}]\n" for name, (when, _) in TRIGGERS.items()},
    }
