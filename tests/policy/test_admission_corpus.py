"""The corpus before the policy pack, in process."""

from __future__ import annotations

import pytest

from cloudmart.preview.policy import evaluate
from cloudmart.settings.rules import RULES
from tests.policy.admission_corpus import CONFIG, POD_SECURITY, Case, cases
from tests.policy.objects import Resource

CASES = cases()


def test_every_rule_that_admission_enforces_has_a_case_that_breaks_it_and_every_kind_a_good_object() -> None:
    assert {rule for case in CASES for rule in case.breaks} == {*RULES, *POD_SECURITY}
    for rule in RULES.values():
        broken = {case.kind for case in CASES if rule.name in case.breaks}
        assert {kind for kind in rule.kinds if kind in broken}, rule.name
        assert rule.kinds <= {case.kind for case in CASES if not case.breaks}, rule.name


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_the_policy_pack_gives_the_verdict_of_the_corpus(case: Case) -> None:
    group, _, version = case.object["apiVersion"].rpartition("/")
    token = f"kubernetes:{group or 'core'}/{version}:{case.kind}"
    resource = Resource(token, case.object["metadata"]["name"], case.object)
    config = {"all": "disabled", **{rule: _mandatory(CONFIG.get(rule)) for rule in [*RULES, *POD_SECURITY]}}
    found = evaluate([resource], config)
    assert {violation.rule for violation in found} == case.breaks
    for rule in case.breaks - POD_SECURITY:
        said = "\n".join(violation.message for violation in found if violation.rule == rule)
        assert _words(case.says) in _words(said)


def _mandatory(entry: object) -> dict[str, object]:
    return {"enforcementLevel": "mandatory", **(entry if isinstance(entry, dict) else {})}


def _words(text: str) -> str:
    # The pack parts some places with a comma that the others part with a colon.
    return text.replace(": ", ", ").lower()
