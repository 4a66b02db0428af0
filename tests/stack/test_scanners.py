"""Security scanners on both stacks' manifests: what they find is answered with a reason, and no answer is left over."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import programs, scanners
from benchmarks.scanners import SCANNERS, Finding, scan
from cloudmart.errors import UserError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Finding]]:
    """By scanner, what it finds in all stacks. Skips where a scanner cannot be made: it takes a network."""
    try:
        for name in SCANNERS:
            programs.program(name)
    except UserError as error:
        pytest.skip(str(error))
    folders = scanners.rendered(tmp_path_factory.mktemp("manifests")).values()
    return {name: [finding for folder in folders for finding in scan(folder, name)] for name in SCANNERS}


@pytest.mark.timeout(1800)  # the first time they are built
@pytest.mark.parametrize("scanner", SCANNERS)
def test_every_finding_of_a_scanner_is_answered_with_a_reason(scanner: str, found: dict[str, list[Finding]]) -> None:
    assert found[scanner], "a scanner that finds nothing at all has not read the manifests"
    assert [f for f in found[scanner] if not any(answer.covers(f) for answer in scanners.answers())] == []


def test_every_answer_is_about_something_that_is_still_found(found: dict[str, list[Finding]]) -> None:
    everything = [finding for findings in found.values() for finding in findings]
    for answer in scanners.answers():
        assert len(answer.reason.split()) > 5
        for pattern in answer.subjects:
            one = scanners.Answer(scanner=answer.scanner, check=answer.check, subjects=[pattern], reason="")
            assert any(one.covers(finding) for finding in everything), f"{answer.check} {pattern}: mended? take it out"


@pytest.mark.parametrize("scanner", SCANNERS)
def test_a_scanner_finds_a_privileged_container(scanner: str, found: dict[str, list[Finding]], tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "deployment.yaml").write_text(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: bad, namespace: shop}\nspec:\n"
        "  selector: {matchLabels: {app: bad}}\n  template:\n    metadata: {labels: {app: bad}}\n    spec:\n"
        "      containers:\n      - {name: bad, image: 'nginx:1', securityContext: {privileged: true}}\n"
    )
    bad = {each.check for each in scan(tmp_path / "bad", scanner) if each.subject == "Deployment/shop/bad"}
    assert {"kube-score": "container-security-context-privileged", "checkov": "CKV_K8S_16", "trivy": "KSV-0017"}[
        scanner
    ] in bad
