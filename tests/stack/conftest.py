"""Every stack file, recorded once."""

from __future__ import annotations

import pytest

from cloudmart.preview.recorder import record
from cloudmart.settings import load, stacks
from tests.conftest import ROOT
from tests.stack.objects import Stack


@pytest.fixture(scope="session", params=stacks(ROOT))
def stack(request: pytest.FixtureRequest) -> Stack:
    """A stack of the repository as its program registers it."""
    name: str = request.param
    return Stack(load(name, ROOT), record(name, ROOT))
