"""The shared corpus of good and bad objects, and what every engine must say of each."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cloudmart.settings.rules import RULES, Ruling, rulings

Json = Any
FOLDER = Path(__file__).parent / "corpus"
CONFIG: Mapping[str, Any] = json.loads((FOLDER / "config.json").read_text())
#: Rules that Pod Security admission enforces in a namespace of level restricted.
POD_SECURITY = {"pod-security", "host-access"}


@dataclass(frozen=True)
class Case:
    """An object, the rules that it breaks, words of the message about each of them, and words of the API server, where
    it refuses the object of itself."""

    name: str
    object: Json
    breaks: frozenset[str]
    says: str = ""
    server: str = ""

    @property
    def kind(self) -> str:
        """The object's kind."""
        return str(self.object["kind"])


def configured() -> Mapping[str, Ruling]:
    """Every rule of the table as the corpus has it."""
    return rulings(CONFIG, [], "config.json")


def cases() -> list[Case]:
    """Every good object as it is, then every change of one."""
    good: dict[str, Json] = yaml.safe_load((FOLDER / "good.yaml").read_text())
    found = [Case(f"{kind}: good", value, frozenset()) for kind, value in good.items()]
    for change in yaml.safe_load((FOLDER / "cases.yaml").read_text()):
        assert set(change["breaks"]) <= {*RULES, *POD_SECURITY}, change["case"]
        for kind in change["of"]:
            changed = _changed(good[kind], change)
            words = {key: change[key] for key in ("says", "server") if key in change}
            found.append(Case(f"{kind}: {change['case']}", changed, frozenset(change["breaks"]), **words))
    return found


def _changed(good: Json, change: Json) -> Json:
    # Through JSON: what an anchor names must not change everywhere.
    found = json.loads(json.dumps(good))
    for path, value in change.get("set", {}).items():
        *steps, last = _steps(found["kind"], path)
        _at(found, steps)[last] = copy.deepcopy(value)
    for path in change.get("unset", []):
        *steps, last = _steps(found["kind"], path)
        del _at(found, steps)[last]
    return found


def _steps(kind: str, path: str) -> Iterator[str | int]:
    template = {"Pod": "", "CronJob": "spec.jobTemplate.spec.template."}.get(kind, "spec.template.")
    if path.startswith("pod."):
        path = f"{template}spec.{path.removeprefix('pod.')}"
    elif path.startswith("template."):
        path = template + path.removeprefix("template.")
    return (int(step) if step.isdigit() else step for step in path.split("."))


def _at(found: Json, steps: list[str | int]) -> Json:
    for step in steps:
        found = found[step]
    return found
