"""The typed tree: catalog and stack configuration in, one frozen object out. Reads two files; knows no Pulumi."""

from cloudmart.settings.base import Amounts, Image, Model, Resources
from cloudmart.settings.load import Loaded, load, load_with_origins, stack_file, stacks
from cloudmart.settings.model import GATEWAY, PROMETHEUS, Edge, Party, Protocol, Purpose, Settings, TargetKind
from cloudmart.settings.problems import Origin
from cloudmart.settings.quantities import Bytes, Cpu
from cloudmart.settings.service import (
    Autoscaling,
    CostCenter,
    Criticality,
    External,
    NamespaceSettings,
    Probe,
    ScalingPolicy,
    Service,
)

__all__ = [
    "GATEWAY",
    "PROMETHEUS",
    "Amounts",
    "Autoscaling",
    "Bytes",
    "CostCenter",
    "Cpu",
    "Criticality",
    "Edge",
    "External",
    "Image",
    "Loaded",
    "Model",
    "NamespaceSettings",
    "Origin",
    "Party",
    "Probe",
    "Protocol",
    "Purpose",
    "Resources",
    "ScalingPolicy",
    "Service",
    "Settings",
    "TargetKind",
    "load",
    "load_with_origins",
    "stack_file",
    "stacks",
]
