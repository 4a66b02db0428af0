"""The corpus before the Rego of Gatekeeper's constraints, run by the Open Policy Agent itself.

The engine is built from its Go module, at the version that Gatekeeper has: about 70 CPU-seconds, once.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from cloudmart.cluster import toolchain
from cloudmart.settings import load
from cloudmart.settings.rules import RULES
from components.admission.gatekeeper import rego, rego_parameters
from tests.conftest import ROOT
from tests.policy.admission_corpus import POD_SECURITY, Case, cases, configured

Json = Any
Judge = Callable[[Mapping[str, Json], str], list[str]]

pytestmark = pytest.mark.slow

MODULE = Path(__file__).parent / "opa"
CASES = cases()
BAD = next(case.object for case in CASES if case.breaks == {"probes"})


def _built() -> Path:
    """The program of `MODULE`, in the user's cache."""
    files = [MODULE / name for name in ("go.mod", "go.sum", "main.go")]
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]
    program = toolchain.cache_directory() / "tests" / f"judge-{digest}"
    if not program.is_file():
        program.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=program.parent) as scratch:
            made = Path(scratch) / "judge"
            subprocess.run(
                [toolchain.find_go(), "build", "-trimpath", "-mod=readonly", "-buildvcs=false", "-o", made],
                cwd=MODULE,
                env=os.environ | {"GOFLAGS": "", "GOWORK": "off", "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"},
                check=True,
                timeout=600,
            )
            made.rename(program)  # whole or not at all, also with two builds at a time
    return program


@pytest.fixture(scope="session")
def judged() -> Judge:
    """What a rule says about a review, as Gatekeeper would ask."""
    program, settings, rulings = _built(), load("prod", ROOT), configured()
    modules = {name: rego(name) for name in ["judged", *RULES]}

    def ask(review: Mapping[str, Json], rule: str) -> list[str]:
        asked = {"review": review, "parameters": rego_parameters(rulings[rule], settings)}
        query = f"data.rules.{rule.replace('-', '_')}.violation"
        given = {"modules": modules, "asked": [{"query": query, "input": asked}]}
        answer = subprocess.run([program], input=json.dumps(given), capture_output=True, text=True, timeout=60)
        assert answer.returncode == 0, answer.stderr
        return [found["msg"] for found in json.loads(answer.stdout)]

    return ask


@pytest.fixture(scope="session")
def verdicts() -> dict[str, dict[str, list[str]]]:
    """What each rule says about each case, by the case's name, asked in one go."""
    settings, rulings = load("prod", ROOT), configured()
    asked = [
        {
            "query": f"data.rules.{rule.replace('-', '_')}.violation",
            "input": {
                "review": {"object": case.object, "userInfo": {"username": "somebody", "groups": ["people"]}},
                "parameters": rego_parameters(rulings[rule], settings),
            },
        }
        for case in CASES
        for rule in RULES
        # The constraint's `match` keeps the rest away.
        if case.kind in RULES[rule].kinds
    ]
    given = {"modules": {name: rego(name) for name in ["judged", *RULES]}, "asked": asked}
    done = subprocess.run([_built()], input=json.dumps(given), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    answers = iter(done.stdout.splitlines())
    return {
        case.name: {
            rule: [found["msg"] for found in json.loads(next(answers))]
            for rule in RULES
            if case.kind in RULES[rule].kinds
        }
        for case in CASES
    }


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_the_rego_gives_the_verdict_of_the_corpus(case: Case, verdicts: dict[str, dict[str, list[str]]]) -> None:
    found = {rule: said for rule, said in verdicts[case.name].items() if said}
    assert set(found) == case.breaks - POD_SECURITY
    for said in found.values():
        assert case.says.lower() in "\n".join(said).lower()
        assert all(" Mend: " in message for message in said)


def test_what_controllers_make_is_left_to_the_template_that_was_judged(judged: Judge) -> None:
    def by(user: str, *groups: str) -> list[str]:
        return judged({"object": BAD, "userInfo": {"username": user, "groups": list(groups)}}, "probes")

    assert by("system:kube-controller-manager", "system:authenticated") == []
    assert by("system:serviceaccount:kube-system:x", "system:serviceaccounts:kube-system") == []
    assert len(by("system:serviceaccount:argocd:x", "system:serviceaccounts:argocd")) == 1


def test_the_audit_which_has_no_user_tells_by_the_owner_what_a_controller_made(judged: Judge) -> None:
    def owned(**owner: Json) -> Json:
        return {
            **BAD,
            "metadata": {**BAD["metadata"], "ownerReferences": [{"kind": "ReplicaSet", "name": "x", **owner}]},
        }

    assert judged({"object": owned(controller=True)}, "probes") == []
    assert len(judged({"object": owned()}, "probes")) == 1
    assert len(judged({"object": BAD}, "probes")) == 1
    somebody = {"username": "somebody", "groups": []}
    assert len(judged({"object": owned(controller=True), "userInfo": somebody}, "probes")) == 1


def test_who_holds_which_field_of_a_bad_object_may_be_rewritten_and_nothing_else_of_it(judged: Judge) -> None:
    def updated(**changed: Json) -> list[str]:
        new = {**BAD, "metadata": {**BAD["metadata"], **changed}}
        somebody = {"username": "somebody", "groups": ["people"]}
        return judged({"operation": "UPDATE", "object": new, "oldObject": BAD, "userInfo": somebody}, "probes")

    assert updated(managedFields=[{}]) == []
    assert len(updated(labels={**BAD["metadata"]["labels"], "x": "y"})) == 1
    assert len(updated(annotations={"x": "y"})) == 1


def test_what_is_on_its_way_out_is_left_alone(judged: Judge) -> None:
    leaving = {**BAD, "metadata": {**BAD["metadata"], "deletionTimestamp": "2026-11-24T00:00:00Z"}}
    assert judged({"object": leaving}, "probes") == []
