"""Findings as SARIF 2.1.0, for code scanning: each at the line that causes it, with what its rule is about.

The format: https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/sarif-v2.1.0-os.html. What GitHub reads of it:
https://docs.github.com/en/code-security/code-scanning/integrating-with-code-scanning/sarif-support-for-code-scanning
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from cloudmart.errors import printable
from cloudmart.preview.findings import Finding, Level, Rule, rules
from cloudmart.settings.load import CATALOG

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
#: GitHub's scale of 0 to 10 for rules with the tag ``security``, in the middle of each of its bands.
_SECURITY = {"critical": "9.5", "high": "8.0", "medium": "5.5", "low": "2.0"}


def as_sarif(stack: str, found: Sequence[Finding]) -> str:
    """One run, with every rule there is and a result for each finding.

    Files are named relative to the project's folder. What stands on no line is put on the catalog's first: GitHub
    shows no result without a line.
    """
    known = rules()
    index = {name: number for number, name in enumerate(known)}
    run = {
        "tool": {
            "driver": {
                "name": "CloudMart preview",
                "semanticVersion": importlib.metadata.version("cloudmart"),
                "rules": [_rule(rule) for rule in known.values()],
            }
        },
        # Runs of other stacks do not replace this one's results.
        "automationDetails": {"id": f"cloudmart-preview/{stack}/"},
        "columnKind": "unicodeCodePoints",
        "results": [_result(stack, finding, index[finding.rule]) for finding in found],
    }
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def _rule(rule: Rule) -> dict[str, Any]:
    properties: dict[str, Any] = {"tags": [rule.topic], "precision": "high"}
    if rule.topic == "security":
        properties["security-severity"] = _SECURITY[rule.severity]
    else:
        properties["problem.severity"] = rule.level.value
    described = {
        "id": rule.name,
        "name": "".join(word.capitalize() for word in rule.name.split("-")),
        "shortDescription": {"text": _text(rule.title)},
        "fullDescription": {"text": _text(rule.title)},
        "help": {"text": _text(f"{rule.title} To mend it: {rule.mend}"), "markdown": _markdown(rule)},
        "defaultConfiguration": {"level": rule.level.value},
        "properties": properties,
    }
    return described | ({"helpUri": rule.url} if rule.url else {})


def _markdown(rule: Rule) -> str:
    return f"{rule.title}\n\n**To mend it:** {rule.mend}" + (f"\n\n<{rule.url}>" if rule.url else "")


def _result(stack: str, finding: Finding, index: int) -> dict[str, Any]:
    place = finding.place
    file, line = (place.file, place.line or 1) if place else (CATALOG, 1)
    location: dict[str, Any] = {
        "physicalLocation": {
            "artifactLocation": {"uri": quote(file), "uriBaseId": "%SRCROOT%"},
            "region": {"startLine": line},
        }
    }
    if finding.urn:
        location["logicalLocations"] = [{"fullyQualifiedName": finding.urn, "kind": "resource"}]
    # What stays the same when lines move, or the figures in a message do.
    identity = "\n".join((stack, finding.rule, finding.urn or finding.subject, place.path if place else ""))
    return {
        "ruleId": finding.rule,
        "ruleIndex": index,
        "level": Level(finding.level).value,
        "message": {"text": _text(f"{finding.message} (stack {stack})")},
        "locations": [location],
        "partialFingerprints": {"cloudmartFinding/v1": hashlib.sha256(identity.encode()).hexdigest()[:32]},
    }


def _text(text: str) -> str:
    """Plain text: SARIF would make a link of ``[a](b)``."""
    return " ".join(printable(text).split()).replace("](", "] (")
