"""Every stack file, recorded once."""

from __future__ import annotations

import json

import pytest
import yaml

from cloudmart.preview.recorder import overridden, record
from cloudmart.settings import load, stacks
from tests.conftest import ROOT
from tests.stack.objects import SINGLE, Stack

_SINGLE_STORES = {"cloudmart:data": {store: {"mode": "single"} for store in ("postgres", "redis", "kafka")}}


@pytest.fixture(scope="session", params=stacks(ROOT))
def stack(request: pytest.FixtureRequest) -> Stack:
    """A stack of the repository as its program registers it; for tests marked with `single_stores`, with its stores in
    mode `single`."""
    name, single, _ = str(request.param).partition(SINGLE)
    if not single:
        return Stack(load(name, ROOT), record(name, ROOT))
    config = yaml.safe_load((ROOT / f"Pulumi.{name}.yaml").read_text())["config"]
    engine = {key: json.dumps(value) for key, value in overridden(config, _SINGLE_STORES).items()}
    return Stack(load(name, ROOT, engine), record(name, ROOT, overrides=_SINGLE_STORES))
