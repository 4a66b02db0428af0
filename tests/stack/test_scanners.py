"""Security scanners on both stacks' manifests: what they find is answered with a reason, and no answer is left over."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import programs, scanners
from benchmarks.scanners import SCANNERS, scan
from cloudmart.errors import UserError

pytestmark = pytest.mark.slow


#: Its build takes ten minutes of CPU: only where somebody has made it.
_SLOW_TO_BUILD = {"trivy"}


def _made(scanner: str) -> None:
    """Skips where a scanner is not to be had."""
    if scanner in _SLOW_TO_BUILD and not programs.is_made(scanner):
        pytest.skip(f"{scanner} is not built; `python -m benchmarks.scanners` builds it")
    try:
        programs.program(scanner)
    except UserError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The manifests of all stacks."""
    return list(scanners.rendered(tmp_path_factory.mktemp("manifests")).values())


@pytest.mark.timeout(900)  # the first time it is built
@pytest.mark.parametrize("scanner", SCANNERS)
def test_every_finding_of_a_scanner_is_answered_and_every_answer_is_about_a_finding(
    scanner: str, folders: list[Path]
) -> None:
    _made(scanner)
    found = [finding for folder in folders for finding in scan(folder, scanner)]
    answers = [answer for answer in scanners.answers() if answer.scanner == scanner]
    assert [finding for finding in found if not any(answer.covers(finding) for answer in answers)] == []
    for answer in answers:
        assert len(answer.reason.split()) > 5
        for pattern in answer.subjects:
            one = replace(answer, subjects=[pattern])
            assert any(one.covers(finding) for finding in found), f"{answer.check} {pattern}: mended? take it out"


def test_every_answer_is_about_a_scanner_that_runs() -> None:
    assert {answer.scanner for answer in scanners.answers()} == set(SCANNERS)


@pytest.mark.parametrize("scanner", SCANNERS)
def test_a_scanner_finds_a_privileged_container(scanner: str, tmp_path: Path) -> None:
    _made(scanner)
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
