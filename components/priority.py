"""Who is evicted last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs
from pulumi_kubernetes.scheduling.v1 import PriorityClass

from cloudmart.settings import Criticality
from cloudmart.settings.service import STACK_OF
from components.labels import Labels

#: Priorities above the default of 0 and far below the system's own (2,000,000,000). Only the order matters; the gaps
#: leave room. A low one never preempts: late is fine, pushing out somebody else's pod is not.
_VALUES = {
    Criticality.CRITICAL: 1_000_000,
    Criticality.HIGH: 100_000,
    Criticality.STANDARD: 10_000,
    Criticality.LOW: 1_000,
}


@dataclass(frozen=True, kw_only=True)
class PriorityClassesArgs:
    """`prefix` goes before the criticality in each name, because priority classes belong to the whole cluster."""

    prefix: str
    labels: Labels


class PriorityClasses(pulumi.ComponentResource):
    """``cloudmart:priority:PriorityClasses``: one PriorityClass a criticality, named ``<prefix>-<criticality>``."""

    #: Name of the class of each criticality.
    names: Mapping[Criticality, pulumi.Output[str]]

    def __init__(self, name: str, args: PriorityClassesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cloudmart:priority:PriorityClasses", name, None, opts)
        names: dict[Criticality, pulumi.Output[str]] = {}
        for criticality, value in _VALUES.items():
            resource = PriorityClass(
                f"{args.prefix}-{criticality}",
                metadata=ObjectMetaArgs(
                    name=f"{args.prefix}-{criticality}",
                    labels=args.labels.metadata,
                    annotations={STACK_OF: pulumi.get_stack()},
                ),
                value=value,
                global_default=False,
                preemption_policy="Never" if criticality is Criticality.LOW else "PreemptLowerPriority",
                description=f"Workloads of {args.prefix} whose outage is of {criticality} importance",
                opts=pulumi.ResourceOptions(parent=self),
            )
            names[criticality] = resource.metadata.apply(lambda metadata: str(metadata.name))
        self.names = names
        self.register_outputs({"names": {str(key): value for key, value in names.items()}})
