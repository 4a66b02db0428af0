"""Everything that a preview finds wrong, in one form: rule, level, subject, message, and the line that causes it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pulumi_policy import EnforcementLevel, Severity

from cloudmart.errors import UserError, message
from cloudmart.preview.places import Place, Places
from cloudmart.preview.policy import policies
from cloudmart.preview.run import PreviewResult

SCHEMA, SETTINGS = "object-schema", "settings"
"""What is no rule of the pack: faults of objects, and files that do not load."""

# How every message about a file begins: its name, the line where there is one, another file that it goes over, and the
# key path.
_IN_FILE = re.compile(
    r"(?P<file>[\w./-]+\.(?:ya?ml|json))(?::(?P<line>\d+))?(?: over [\w./-]+:\d+)?: "
    r"(?:(?P<path>[\w.:/\[\]-]+): )?(?P<what>.*)"
)
_KINDS = "https://kubernetes.io/docs/reference/kubernetes-api/"


class Level(StrEnum):
    """Whether a finding stops a deployment."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True)
class Rule:
    """What there is to say about a rule apart from its findings."""

    name: str
    title: str
    topic: str
    severity: str
    level: Level
    mend: str
    url: str = ""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong. ``subject`` names the object for people, ``urn`` the resource, where there is one."""

    rule: str
    level: Level
    subject: str
    message: str
    place: Place | None
    urn: str = ""

    @property
    def what(self) -> str:
        """The message for who is shown the place beside it: without that at its beginning."""
        return self.message.removeprefix(f"{self.place}: ")


def of(result: PreviewResult) -> list[Finding]:
    """What a preview found: faults of objects, mandatory violations, then advisory ones."""
    places = Places(result.recording, result.loaded) if result.loaded else None
    found = [
        Finding(
            SCHEMA,
            Level.ERROR,
            subject(error.urn),
            f"{error.path}: {error.message}",
            places.of_error(error) if places else None,
            error.urn,
        )
        for error in result.errors
    ]
    found += [
        Finding(
            violation.rule,
            Level.ERROR if violation.level == "mandatory" else Level.WARNING,
            subject(violation.urn),
            violation.message,
            places.of_violation(violation) if places else None,
            violation.urn,
        )
        for violation in result.violations
    ]
    return sorted(found, key=lambda one: one.level is Level.WARNING)


def of_error(error: UserError) -> list[Finding]:
    """What kept a preview from being made, one finding a line."""
    found = []
    for line in message(str(error)).splitlines():
        match = _IN_FILE.fullmatch(line)
        place = None
        if match is not None:
            place = Place(match["file"], int(match["line"]) if match["line"] else None, match["path"] or "")
        found.append(Finding(SETTINGS, Level.ERROR, match["file"] if match else "", line, place))
    return found


def rules() -> Mapping[str, Rule]:
    """Every rule that a finding can have, by name: the pack's, and the two that are none of it."""
    known = [
        Rule(
            SETTINGS,
            "The files load: their keys, values and what they refer to are such as the settings allow.",
            "settings",
            "high",
            Level.ERROR,
            "write what the message says is allowed; `cloudmart config show` prints where each value comes from.",
        ),
        Rule(
            SCHEMA,
            "Every object fits the schema of its kind, and shows no secret.",
            "objects",
            "high",
            Level.ERROR,
            "change the value, or the component that makes the object.",
            _KINDS,
        ),
    ]
    for policy in policies():
        advisory = policy.enforcement_level is EnforcementLevel.ADVISORY
        severity = policy.severity or Severity.MEDIUM
        known.append(
            Rule(
                policy.name,
                policy.description,
                (policy.tags or ["policy"])[0],
                severity.value,
                Level.WARNING if advisory else Level.ERROR,
                policy.remediation_steps or "",
                policy.url or "",
            )
        )
    return {rule.name: rule for rule in known}


def subject(urn: str) -> str:
    """Type and name out of a URN: what a reader looks for."""
    parts = urn.split("::")
    return f"{parts[2].rsplit('$', 1)[-1].rsplit(':', 1)[-1]} {parts[3]}" if len(parts) == 4 else urn


def stops(found: Sequence[Finding]) -> bool:
    """Whether any of them stops a deployment."""
    return any(one.level is Level.ERROR for one in found)
