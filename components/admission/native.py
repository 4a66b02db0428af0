"""The rules enforced by the API server itself: one ValidatingAdmissionPolicy a rule, in CEL, and nothing to install."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
from pulumi_kubernetes.admissionregistration.v1 import (
    MatchConditionArgs,
    MatchResourcesArgs,
    NamedRuleWithOperationsArgs,
    ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding,
    ValidatingAdmissionPolicyBindingSpecArgs,
    ValidatingAdmissionPolicySpecArgs,
    ValidationArgs,
    VariableArgs,
)
from pulumi_kubernetes.meta.v1 import LabelSelectorArgs, LabelSelectorRequirementArgs, ObjectMetaArgs

from cloudmart.settings import Settings
from cloudmart.settings.rules import Level, Ruling
from components.admission.cel import expressions, literal
from components.admission.parameters import (
    CONTROLLER_MANAGER,
    RESOURCES,
    controllers,
    enforced,
    globs,
    left_out,
    parameters,
)
from components.labels import Labels


@dataclass(frozen=True, kw_only=True)
class NativePoliciesArgs:
    """Everything is in the settings; `labels` are those of the policies themselves."""

    settings: Settings
    labels: Labels


class NativePolicies(pulumi.ComponentResource):
    """``cloudmart:admission:NativePolicies``

    A ValidatingAdmissionPolicy and its ValidatingAdmissionPolicyBinding for each rule that is on, both named
    ``<project>-<rule>``. A mandatory rule denies; an advisory one warns, and notes it in the audit log.
    """

    def __init__(self, name: str, args: NativePoliciesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cloudmart:admission:NativePolicies", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        settings = args.settings
        for rule, ruling in enforced(settings).items():
            full_name = f"{settings.project}-{rule}"
            metadata = ObjectMetaArgs(name=full_name, labels=args.labels.metadata)
            ValidatingAdmissionPolicy(full_name, metadata=metadata, spec=_policy(ruling, settings), opts=child)
            ValidatingAdmissionPolicyBinding(
                full_name,
                metadata=metadata,
                spec=ValidatingAdmissionPolicyBindingSpecArgs(
                    policy_name=full_name,
                    validation_actions=["Warn", "Audit"] if ruling.level is Level.ADVISORY else ["Deny"],
                    match_resources=MatchResourcesArgs(
                        namespace_selector=LabelSelectorArgs(
                            match_labels={"project": settings.project},
                            match_expressions=[
                                LabelSelectorRequirementArgs(
                                    key="kubernetes.io/metadata.name", operator="NotIn", values=left_out(settings)
                                )
                            ],
                        )
                    ),
                ),
                opts=child,
            )
        self.register_outputs({})


def _policy(ruling: Ruling, settings: Settings) -> ValidatingAdmissionPolicySpecArgs:
    rule = ruling.rule
    return ValidatingAdmissionPolicySpecArgs(
        # It concerns errors in an expression alone; there is no server of ours that could be away.
        failure_policy="Fail",
        match_constraints=MatchResourcesArgs(
            resource_rules=[
                NamedRuleWithOperationsArgs(
                    api_groups=[group], api_versions=[version], resources=resources, operations=["CREATE", "UPDATE"]
                )
                for (group, version), resources in _by_group(rule.kinds).items()
            ]
        ),
        match_conditions=[
            MatchConditionArgs(name=condition, expression=expression)
            for condition, expression in _conditions(ruling, settings).items()
        ],
        variables=[
            VariableArgs(name=variable, expression=expression)
            for variable, expression in expressions(rule.name, parameters(ruling)).items()
        ],
        validations=[
            ValidationArgs(
                expression="size(variables.findings) == 0",
                message=f"{rule.title} {rule.why} Mend: {rule.mend}",
                message_expression=(
                    "variables.who + ': ' + variables.findings.join('; ') + "
                    + literal(f". {rule.why} Mend: {rule.mend}")
                ),
            )
        ],
    )


def _by_group(kinds: frozenset[str]) -> dict[tuple[str, str], list[str]]:
    found: dict[tuple[str, str], list[str]] = {}
    for kind in sorted(kinds):
        group, version, resource = RESOURCES[kind]
        found.setdefault((group, version), []).append(resource)
    return found


#: What the rules look at.
_JUDGED = (("", "spec"), ("", "data"), (".metadata", "labels"), (".metadata", "annotations"))


def _conditions(ruling: Ruling, settings: Settings) -> dict[str, str]:
    conditions = {
        # Before it changes an object, Pulumi's provider rewrites who holds which of its fields: what is wrong with it
        # could never be mended if that were refused.
        "changes": "request.operation == 'CREATE' || "
        + " || ".join(f"dyn(object{part}).?{field} != dyn(oldObject{part}).?{field}" for part, field in _JUDGED),
        # What is on its way out must be able to go, whatever it looks like.
        "stays": "!has(object.metadata.deletionTimestamp)",
        # Pods come from a template that was judged where somebody wrote it, before the mesh added its sidecar.
        "not-by-a-controller": (
            f"request.userInfo.username != {literal(CONTROLLER_MANAGER)} && "
            f"!request.userInfo.?groups.orValue([]).exists(g, g in {literal(controllers(settings))})"
        ),
    }
    if ruling.config["exempt"]:
        conditions["not-exempt"] = (
            "!(object.kind + '/' + (has(object.metadata.namespace) ? object.metadata.namespace + '/' : '') + "
            f"object.metadata.name).matches({literal(globs(ruling.config['exempt']))})"
        )
    return conditions
