"""The rules enforced by OPA Gatekeeper: its chart, and a ConstraintTemplate and a constraint a rule, in Rego."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pulumi
from pulumi_kubernetes.meta.v1 import LabelSelectorArgs, ObjectMetaArgs

from cloudmart.settings import Settings
from cloudmart.settings.admission import AdmissionSettings
from cloudmart.settings.rules import Level, Ruling
from components.admission.parameters import RESOURCES, controllers, enforced, globs, left_out, parameters
from components.admission.values import gatekeeper_values
from components.custom import CustomObject
from components.layer import API_SERVER_PORTS, ChartLayer, LayerArgs, from_anywhere, layer_labels, to_ports
from components.specs import gatekeeper as specs

_REGO = Path(__file__).parent / "rego"
_WEBHOOK_PORT = 8443


@dataclass(frozen=True, kw_only=True)
class GatekeeperArgs(LayerArgs[AdmissionSettings]):
    """`whole` are the settings that the rules, the registry and the namespaces come from."""

    whole: Settings


class Gatekeeper(ChartLayer):
    """``cloudmart:admission:Gatekeeper``

    GuardedNamespace; NetworkPolicies ``allow-api-server`` and ``allow-webhook``; Helm Release ``gatekeeper``; for each
    rule that is on a ConstraintTemplate, and of the kind that this makes one constraint named after the project. A
    mandatory rule denies; an advisory one warns. The audit reports what was there before, in the constraint's status.
    """

    def __init__(self, name: str, args: GatekeeperArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cloudmart:admission:Gatekeeper", name, None, opts)
        settings, whole = args.settings, args.whole
        chart = settings.chart_of("chart")
        labels = layer_labels(args.labels, settings, app="gatekeeper", component="admission", version=chart.version)
        self._guard(
            name,
            settings,
            labels,
            args.cluster,
            {
                "allow-api-server": to_ports(API_SERVER_PORTS),
                "allow-webhook": from_anywhere(
                    [_WEBHOOK_PORT], LabelSelectorArgs(match_labels={"gatekeeper.sh/operation": "webhook"})
                ),
            },
        )
        rules = enforced(whole)
        release = self._release(
            "gatekeeper",
            settings,
            chart,
            gatekeeper_values(
                settings,
                labels=labels.metadata,
                resources_by_group=_resources(kind for ruling in rules.values() for kind in ruling.rule.kinds),
                left_out=left_out(whole),
            ),
        )
        for rule, ruling in rules.items():
            kind = constraint_kind(whole.project, rule)
            template = CustomObject(
                f"{whole.project}-{rule}-template",
                specs.CONSTRAINT_TEMPLATE,
                metadata=ObjectMetaArgs(
                    name=kind.lower(),
                    labels=labels.metadata,
                    # Gatekeeper makes the constraint's kind out of it and says so here: only then is there a kind.
                    annotations={"pulumi.com/waitFor": "jsonpath={.status.created}=true"},
                ),
                spec=_template(kind, ruling, whole),
                opts=pulumi.ResourceOptions(parent=self, depends_on=[release]),
            )
            CustomObject(
                f"{whole.project}-{rule}-constraint",
                specs.constraint(kind),
                metadata=ObjectMetaArgs(name=whole.project, labels=labels.metadata),
                spec=_constraint(ruling, whole),
                opts=pulumi.ResourceOptions(parent=self, depends_on=[template]),
            )
        self.register_outputs({"namespace": self.namespace})


def constraint_kind(project: str, rule: str) -> str:
    """The kind of a rule's constraint: ``CloudmartImagePinned``."""
    return "".join(part.capitalize() for part in re.findall(r"[a-z0-9]+", f"{project}-{rule}"))


def rego_parameters(ruling: Ruling, settings: Settings) -> dict[str, Any]:
    """What a rule's Rego finds under ``input.parameters``."""
    return {
        **parameters(ruling),
        "exempt": globs(ruling.config["exempt"]),
        "controllers": controllers(settings),
        "advice": f"{ruling.rule.why} Mend: {ruling.rule.mend}",
    }


@cache
def rego(name: str) -> str:
    """The source of a rule, or of the library ``judged``."""
    return (_REGO / f"{name}.rego").read_text(encoding="utf-8")


def _resources(kinds: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for kind in sorted(set(kinds)):
        group, _, resource = RESOURCES[kind]
        found.setdefault(group, []).append(resource)
    return found


def _template(kind: str, ruling: Ruling, settings: Settings) -> specs.ConstraintTemplateSpec:
    source = specs.Source(version="v1", rego=rego(ruling.rule.name), libs=[rego("judged")])
    return specs.ConstraintTemplateSpec(
        crd=specs.Crd(
            spec=specs.CrdSpec(
                names=specs.Names(kind=kind),
                validation=specs.Validation(open_api_v3_schema=_schema(rego_parameters(ruling, settings))),
            )
        ),
        targets=[
            specs.Target(target="admission.k8s.gatekeeper.sh", code=[specs.Code(engine="Rego", source=source)]),
        ],
    )


def _constraint(ruling: Ruling, settings: Settings) -> specs.ConstraintSpec:
    groups: dict[str, list[str]] = {}
    for kind in sorted(ruling.rule.kinds):
        groups.setdefault(RESOURCES[kind][0], []).append(kind)
    return specs.ConstraintSpec(
        enforcement_action="warn" if ruling.level is Level.ADVISORY else "deny",
        match=specs.Match(
            kinds=[specs.Kinds(api_groups=[group], kinds=kinds) for group, kinds in groups.items()],
            namespace_selector=specs.Selector(
                match_labels={"project": settings.project},
                match_expressions=[
                    specs.Requirement(key="kubernetes.io/metadata.name", operator="NotIn", values=left_out(settings))
                ],
            ),
        ),
        parameters=rego_parameters(ruling, settings),
    )


def _schema(value: Any) -> dict[str, Any]:
    """The structural schema that a value fits. An empty list is one of texts: no rule has another."""
    match value:
        case Mapping():
            return {"type": "object", "properties": {key: _schema(item) for key, item in value.items()}}
        case list():
            return {"type": "array", "items": _schema(value[0]) if value else {"type": "string"}}
        case str():
            return {"type": "string"}
        case _:
            return {"type": "number"}
