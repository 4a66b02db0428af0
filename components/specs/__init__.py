"""Typed specs of custom resources: one module for each API group, with the fields that this project sets.

Each is loaded when something of it is used: making its classes is time that a stack without the layer need not spend.
"""

import sys
from importlib.util import LazyLoader, find_spec, module_from_spec

for _name in ("argo", "cnpg", "external_secrets", "gatekeeper", "gateway_api", "istio", "kong", "strimzi", "vpa"):
    _spec = find_spec(f"{__name__}.{_name}")
    if _spec is not None and _spec.loader is not None:
        _spec.loader = LazyLoader(_spec.loader)
        # An attribute too: `from components.specs import istio` takes that, and leaves the module as it is.
        globals()[_name] = sys.modules[_spec.name] = module_from_spec(_spec)
        _spec.loader.exec_module(sys.modules[_spec.name])
