"""A look's findings as text, JSON and Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from cloudmart.drift.finding import Finding, Kind
from cloudmart.drift.look import Drift
from cloudmart.finops.markdown import literal

_FOREIGN = "its maker is not known"


def as_text(drift: Drift) -> str:
    """What is wrong, object by object, each with the command that mends it."""
    lines = []
    for label, findings in _by_object(drift.findings).items():
        lines.append(label)
        lines += [f"  {sentence(finding)}" for finding in findings]
        lines += [f"  mend: {mend}" for mend in dict.fromkeys(finding.mend for finding in findings)]
    return "\n".join(_printable(line) for line in [*lines, *_ends(drift)]) + "\n"


def as_markdown(drift: Drift) -> str:
    """The same as a table, and the commands below it."""
    lines = [f"### Drift of stack {literal(drift.stack)}", "", *(literal(line) for line in _ends(drift))]
    if drift.findings:
        lines += ["", "| object | what | declared | live | by | when |", "| --- | --- | --- | --- | --- | --- |"]
        for one in drift.findings:
            what = f"{one.kind.value} {one.path}".strip()
            cells = (one.object.label, what, one.declared, one.live, one.by, one.when)
            lines.append("| " + " | ".join(literal(_printable(cell or "-")) for cell in cells) + " |")
        # Indented and not fenced: no text of a field can end it.
        lines += ["", "To put it back:", ""]
        lines += [f"    {_printable(mend)}" for mend in dict.fromkeys(one.mend for one in drift.findings)]
    return "\n".join(lines) + "\n"


def as_json(drift: Drift) -> str:
    """Everything, for programs."""
    data = {
        "stack": drift.stack,
        "way": drift.way.value,
        "compared": drift.compared,
        "notes": list(drift.notes),
        "findings": [
            {
                "kind": one.kind.value,
                "object": {
                    "apiVersion": one.object.api_version,
                    "kind": one.object.kind,
                    "namespace": one.object.namespace or None,
                    "name": one.object.name,
                },
                "path": one.path or None,
                "declared": one.declared,
                "live": one.live,
                "by": one.by,
                "when": one.when,
                "mend": one.mend,
            }
            for one in drift.findings
        ],
    }
    return json.dumps(data, indent=2) + "\n"


def sentence(finding: Finding) -> str:
    """One finding in one line, less its object and mend."""
    who = f" by {finding.by}" if finding.by else ""
    who += f" at {finding.when}" if finding.when else ""
    match finding.kind:
        case Kind.MISSING:
            return f"missing: declared is {finding.declared}"
        case Kind.CHANGED if not finding.path:
            return f"changed: {finding.live}{who}"
        case Kind.CHANGED:
            unknown = "" if who else " (who took it away is not known)" if finding.live is None else f" ({_FOREIGN})"
            declared, live = finding.declared or "nothing", finding.live or "nothing"
            return f"changed: {finding.path}: declared {declared}, live {live}{who}{unknown}"
        case Kind.ADDED:
            return f"added: {finding.path}: {finding.live}{who}"
        case Kind.UNEXPECTED:
            return f"unexpected: {finding.live}; made{who or f' ({_FOREIGN})'}"
        case Kind.REFUSED:
            return f"refused: the declared object cannot take the place of the live one: {finding.live}"


def _printable(line: str) -> str:
    # Foreign text: it shall not move the terminal's cursor.
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in line)


def _ends(drift: Drift) -> Iterator[str]:
    count, objects = len(drift.findings), len(_by_object(drift.findings))
    found = f"{count} finding{'s' * (count > 1)} in {objects} object{'s' * (objects > 1)}" if count else "no drift"
    yield f"stack {drift.stack}: {found}; {drift.compared} declared objects compared"
    yield from drift.notes


def _by_object(findings: Sequence[Finding]) -> Mapping[str, list[Finding]]:
    found: dict[str, list[Finding]] = {}
    for finding in findings:
        found.setdefault(finding.object.label, []).append(finding)
    return found
