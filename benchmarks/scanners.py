"""What security scanners find in both stacks' manifests, and what we say to it. Writes docs/security-scanners.md.

Every finding needs an answer in ``docs/security-scanners.yaml``, of whatever severity; ``tests/stack/test_scanners.py``
holds the answers against the scanners. ``--beside NAME=FOLDER`` counts the findings in other manifests, side by side.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks import programs
from cloudmart.preview import recorder, render
from cloudmart.preview.recorder import HOME
from cloudmart.settings import stacks

ANSWERS = HOME / "docs" / "security-scanners.yaml"
PAGE = HOME / "docs" / "security-scanners.md"
SEVERITIES = ("critical", "high", "medium", "low", "warning", "unrated")


@dataclass(frozen=True, order=True)
class Finding:
    """What a scanner has against an object. ``subject`` is ``Kind/namespace/name``, the namespace may be empty."""

    scanner: str
    check: str
    severity: str
    subject: str
    title: str


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Why a finding stands. ``subjects`` are patterns of a :class:`Finding`'s subject."""

    scanner: str
    check: str
    subjects: Sequence[str]
    reason: str

    def covers(self, finding: Finding) -> bool:
        """Whether it is about this finding."""
        return (self.scanner, self.check) == (finding.scanner, finding.check) and any(
            fnmatch.fnmatchcase(finding.subject, pattern) for pattern in self.subjects
        )


def answers() -> list[Answer]:
    """Those of the repository."""
    return [Answer(**entry) for entry in yaml.safe_load(ANSWERS.read_text(encoding="utf-8"))]


def rendered(folder: Path) -> dict[str, Path]:
    """A folder with the manifests of each stack, by ``cloudmart render``."""
    for stack in stacks(HOME):
        render.render(recorder.record(stack, HOME), folder / stack)
    return {stack: folder / stack for stack in stacks(HOME)}


# --- the scanners ----------------------------------------------------------------------------------------------------


def kube_score(folder: Path) -> Iterable[Finding]:
    """Its grades are critical and warning."""
    for about in _json(["kube-score", "score", "--output-format=json", *_files(folder)], allowed=(0, 1)):
        kind, *_, namespace, name = about["object_name"].split("/")
        for check in about["checks"] or []:
            severity = {1: "critical", 5: "warning"}.get(check["grade"])
            if severity and not check["skipped"]:
                what = check["check"]
                yield Finding("kube-score", what["id"], severity, f"{kind}/{namespace}/{name}", what["name"])


def checkov(folder: Path) -> Iterable[Finding]:
    """Without an account of its maker it rates nothing."""
    command = ["checkov", "--framework=kubernetes", "--skip-download", "--quiet", "--compact", "--output=json"]
    for failed in _json([*command, "--directory", folder], allowed=(0, 1))["results"]["failed_checks"]:
        subject = "/".join(failed["resource"].split(".", 2))
        severity = str(failed["severity"] or "unrated").lower()
        yield Finding("checkov", failed["check_id"], severity, subject, failed["check_name"])


def trivy(folder: Path) -> Iterable[Finding]:
    """With the checks that are built into it."""
    command = ["trivy", "config", "--format=json", "--quiet", "--skip-check-update", "--skip-version-check"]
    cache = f"--cache-dir={folder.parent / 'trivy'}"
    said = _json([*command, "--misconfig-scanners=kubernetes", cache, folder])
    for result in said.get("Results") or []:
        subject = _only(folder / result["Target"])
        for failed in result.get("Misconfigurations") or []:
            yield Finding("trivy", failed["ID"], failed["Severity"].lower(), subject, failed["Title"])


SCANNERS: Mapping[str, Callable[[Path], Iterable[Finding]]] = {
    "kube-score": kube_score,
    "checkov": checkov,
    "trivy": trivy,
}


def scan(folder: Path, scanner: str) -> list[Finding]:
    """What one of :data:`SCANNERS` finds. Each finding stands once an object, however many containers it has."""
    return sorted(set(SCANNERS[scanner](folder)))


def _json(command: Sequence[str | Path], allowed: Sequence[int] = (0,)) -> Any:
    done = subprocess.run(
        [programs.program(str(command[0])), *command[1:]], capture_output=True, text=True, check=False, timeout=300
    )
    if done.returncode not in allowed:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout)


def _only(file: Path) -> str:
    """The one object of a file."""
    found = yaml.safe_load(file.read_text(encoding="utf-8"))
    return f"{found['kind']}/{found['metadata'].get('namespace', '')}/{found['metadata']['name']}"


def apart(source: Path, target: Path) -> Path:
    """Manifests of others, one file an object, as ours are: the scanners are to see the same of both."""
    target.mkdir()
    texts = [file.read_text(encoding="utf-8") for file in ([source] if source.is_file() else _files(source))]
    objects = [each for text in texts for each in yaml.safe_load_all(text) if each]
    for index, each in enumerate(objects):
        (target / f"{index:04}.yaml").write_text(yaml.safe_dump(each), encoding="utf-8")
    return target


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*.yaml") if file.name != "kustomization.yaml")


# --- the page --------------------------------------------------------------------------------------------------------


def page(
    found: Mapping[str, Mapping[str, Sequence[Finding]]], counts: Mapping[str, int], sources: Mapping[str, str]
) -> str:
    """``found`` is by manifests and scanner; ``sources`` says where manifests of others come from."""
    lines = [
        "# Security scanners",
        "",
        "Written by `python -m benchmarks.scanners`; do not edit. The answers stand in "
        "[security-scanners.yaml](security-scanners.yaml); a test of `make e2e` fails for a finding without one, and "
        "for one that answers nothing.",
        "",
        "## Seen",
        "",
        "Objects with a finding, by scanner and severity, each check once an object. kube-score knows *critical* and "
        "*warning*; checkov rates nothing without an account of its maker.",
        "",
    ]
    names = list(found)
    lines += [
        f"| scanner | severity | {' | '.join(names)} |",
        f"| --- | --- | {' | '.join('---:' for _ in names)} |",
    ]
    lines.append(f"| | objects | {' | '.join(str(counts[name]) for name in names)} |")
    for scanner in SCANNERS:
        for severity in SEVERITIES:
            rated = [sum(each.severity == severity for each in found[name][scanner]) for name in names]
            if any(rated):
                title = f"{scanner} {programs.version(scanner)}"
                lines.append(f"| {title} | {severity} | {' | '.join(map(str, rated))} |")
    lines += [
        "",
        "- `dev` and `prod` are what `cloudmart render` writes: everything but Secrets, which hold values, and charts.",
        *(f"- `{name}` is {source}." for name, source in sources.items()),
        "",
        "## What stands, and why",
        "",
        "| scanner | check | severity | dev | prod | why it stands |",
        "| --- | --- | --- | ---: | ---: | --- |",
    ]
    ours = {stack: [each for scanner in found[stack].values() for each in scanner] for stack in stacks(HOME)}
    for answer in answers():
        covered = {stack: [each for each in ours[stack] if answer.covers(each)] for stack in ours}
        one = next((each for each in [*covered["dev"], *covered["prod"]]), None)
        if one is None:
            continue  # the test says so
        lines.append(
            f"| {answer.scanner} | `{answer.check}` {one.title} | {one.severity} "
            f"| {len(covered['dev'])} | {len(covered['prod'])} "
            f"| {' '.join(answer.reason.split())} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--beside",
        action="append",
        default=[],
        metavar="NAME=PATH=WHAT",
        help="scan these manifests too; WHAT says where they come from",
    )
    others = [text.split("=", 2) for text in parser.parse_args().beside]
    with tempfile.TemporaryDirectory() as scratch:
        folders = rendered(Path(scratch))
        folders |= {name: apart(Path(source), Path(scratch) / name) for name, source, _ in others}
        counts = {name: len(_files(folder)) for name, folder in folders.items()}
        found = {name: {scanner: scan(folder, scanner) for scanner in SCANNERS} for name, folder in folders.items()}
    PAGE.write_text(page(found, counts, {name: what for name, _, what in others}), encoding="utf-8")
    for finding in (each for stack in stacks(HOME) for scanner in found[stack].values() for each in scanner):
        if not any(answer.covers(finding) for answer in answers()):
            sys.stderr.write(f"no answer: {finding}\n")


if __name__ == "__main__":
    main()
