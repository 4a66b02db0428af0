"""What the cluster itself refuses: the policy pack's rules, enforced at admission."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field, Strict

from cloudmart.settings.base import OwnNamespace
from cloudmart.settings.charts import GATEKEEPER, Chart, ChartSource
from cloudmart.settings.layer import Layer, Workload, workload


class AdmissionEngine(StrEnum):
    """What enforces the rules."""

    #: The API server's own ValidatingAdmissionPolicies: nothing to install.
    NATIVE = "native"
    #: OPA Gatekeeper, which also audits what was there before.
    GATEKEEPER = "gatekeeper"


class AdmissionSettings(Layer):
    """Gatekeeper, or the API server's own admission policies. The rules and their thresholds are the policy pack's.

    What says how Gatekeeper is installed does nothing with engine ``native``.
    """

    namespace: OwnNamespace = "gatekeeper-system"
    #: What enforces the rules.
    engine: AdmissionEngine = AdmissionEngine.NATIVE
    chart: ChartSource = ChartSource()
    #: Gatekeeper's webhook.
    controller: Workload = workload(requests=("100m", "256Mi"), limits=("400m", "512Mi"), replicas=3)
    #: Gatekeeper's audit of what is there.
    audit: Workload = workload(requests=("100m", "256Mi"), limits=("400m", "512Mi"))
    #: How long after one audit of everything that is there the next begins.
    audit_interval_seconds: Annotated[int, Strict(), Field(ge=10, le=86_400)] = 300

    CHARTS: ClassVar[Mapping[str, Chart]] = {"chart": GATEKEEPER}

    @property
    def workloads(self) -> Mapping[str, Workload]:
        return {"controller": self.controller, "audit": self.audit}

    @property
    def charts(self) -> Mapping[str, Chart]:
        return super().charts if self.engine is AdmissionEngine.GATEKEEPER else {}
