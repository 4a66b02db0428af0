"""Values of Gatekeeper's chart."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from cloudmart.settings.admission import AdmissionSettings
from components.labels import cost_labels
from components.layer import SMALL, resources


def gatekeeper_values(
    settings: AdmissionSettings,
    *,
    labels: Mapping[str, str],
    resources_by_group: Mapping[str, Sequence[str]],
    left_out: Collection[str],
) -> dict[str, Any]:
    """Chart gatekeeper 3.23. `resources_by_group` are what rules are about; the namespaces `left_out` keep to none."""
    return {
        "replicas": settings.controller.replicas,
        "controllerManager": {"resources": resources(settings.controller)},
        "audit": {"resources": resources(settings.audit)},
        "auditInterval": settings.audit_interval_seconds,
        # Of the Job that brings new resource definitions before an upgrade, which Helm itself does not.
        "crds": {"resources": {"requests": SMALL["default_request"], "limits": SMALL["default"]}},
        # On everything, pods and the Jobs' pods too; `podLabels` would give the same keys twice.
        "commonLabels": cost_labels(labels),
        # A webhook that cannot be reached must not keep pods from being replaced: whatever slips through was judged
        # before by the policy pack, and the audit finds it within minutes.
        "validatingWebhookFailurePolicy": "Ignore",
        # It answers for every Namespace of the cluster, those of the other layers too.
        "validatingWebhookCheckIgnoreFailurePolicy": "Ignore",
        "validatingWebhookExemptNamespacesLabels": {"kubernetes.io/metadata.name": sorted(left_out)},
        # The chart asks for every kind there is, and their subresources. Its own: a template that does not compile, or
        # a constraint that does not fit its template, is refused.
        "validatingWebhookCustomRules": [
            {
                "apiGroups": [group],
                "apiVersions": ["*"],
                "operations": ["CREATE", "UPDATE"],
                "resources": list(names),
                "scope": "*",
            }
            for group, names in {
                **resources_by_group,
                "templates.gatekeeper.sh": ["*"],
                "constraints.gatekeeper.sh": ["*"],
            }.items()
        ],
        # Admission judges; nothing of ours changes objects or asks somebody else.
        "disableMutation": True,
        "enableExternalData": False,
        "logDenies": True,
        # Made by us, with its labels, and Pulumi waits for the Deployments.
        "postInstall": {"labelNamespace": {"enabled": False}, "probeWebhook": {"enabled": False}},
    }
