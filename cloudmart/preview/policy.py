"""The policy pack, in process: what the engine would say about recorded resources, without the engine.

The rules are called through pulumi_policy's public classes. Its analyzer servicer would do the same, but it converts
every resource from the wire format again for each rule: 3.7 ms for a Deployment and 14 rules, more than registering it
takes. A test holds the answers of both against each other.
"""

from __future__ import annotations

import copy
import importlib.util
import json
import marshal
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from pulumi_policy import (
    EnforcementLevel,
    Policy,
    PolicyCustomTimeouts,
    PolicyResource,
    PolicyResourceOptions,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    StackValidationArgs,
    StackValidationPolicy,
    proxy,
)

from cloudmart.errors import UserError, meant
from cloudmart.settings.rules import entry_problems
from cloudmart.settings.source import contents, dotted, parse_json

PACK = Path(__file__).resolve().parents[2] / "policy"

#: By whether the resource is protected: of the options, the rules ask for nothing else.
_OPTIONS = {
    protect: PolicyResourceOptions(protect, [], None, [], PolicyCustomTimeouts(0, 0, 0), [])
    for protect in (False, True)
}


class Resource(Protocol):
    """What is needed of a recorded resource: inputs are plain JSON as they go over the wire, unknown at
    `unknown_paths`."""

    @property
    def urn(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def inputs(self) -> Mapping[str, Any]: ...
    @property
    def protect(self) -> bool: ...
    @property
    def unknown_paths(self) -> Sequence[tuple[str | int, ...]]: ...


@dataclass(frozen=True)
class Violation:
    """What a rule has against a resource. `level` is ``advisory`` or ``mandatory``; `urn` names the resource."""

    rule: str
    level: str
    urn: str
    message: str


@dataclass(frozen=True)
class _Setting:
    level: EnforcementLevel
    properties: dict[str, Any]


@cache
def _pack() -> Any:
    """The package with the rules, loaded once under a name of its own, so that nothing depends on ``sys.path``."""
    name = "cloudmart_policy_rules"
    folder = PACK / "rules"
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        raise UserError(f"{folder}: is not a policy pack; allowed: a folder with rules/__init__.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def policies() -> tuple[Policy, ...]:
    """The rules of the pack."""
    return tuple(_pack().POLICIES)


def read_config(path: Path) -> dict[str, Any]:
    """Reads and checks a configuration file, in the form of ``pulumi preview --policy-pack-config``.

    Raises ``UserError``, one line a problem: file, key path, what was found, what is allowed.
    """
    config = parse_json(contents(path, str(path)), str(path))
    if not isinstance(config, dict):
        raise UserError(f"{path}: found {json.dumps(config)[:80]}; allowed: an object of rules")
    _settings(config, policies(), str(path))
    return config


def evaluate(
    resources: Sequence[Resource],
    config: Mapping[str, Any],
    *,
    cost_centers: Collection[str] | None = None,
    budgets: Mapping[str, Mapping[str, str]] | None = None,
    source: str = "policy config",
) -> list[Violation]:
    """What the pack says about `resources`: rules about one resource first, in the order given, then about the stack.

    `config` has the form of ``--policy-pack-config``; what it leaves out comes from the rules' schemas, as the engine
    does it. `cost_centers` stands in for the registry of this repository's catalog, `budgets` (see
    ``cloudmart.finops.budget.as_facts``) for what the rules would work out. Rules at level ``remediate`` mend a copy
    first; what is still wrong is a mandatory violation, as in the engine. Raises ``UserError`` for a configuration that
    does not fit, naming `source` and the key path.
    """
    rules = policies()
    settings = _settings(config, rules, source)
    if cost_centers is not None:
        for name, setting in settings.items():
            if "costCenters" in setting.properties and "costCenters" not in _given(config, name):
                setting.properties["costCenters"] = sorted(cost_centers)
    if budgets is not None:
        for setting in settings.values():
            if "estimated" in setting.properties:
                setting.properties.update(known=True, estimated=budgets)
    active = [rule for rule in rules if settings[rule.name].level is not EnforcementLevel.DISABLED]
    # Any: the pack's own class, which says what a rule is about, is known by name only.
    one: list[Any] = [rule for rule in active if isinstance(rule, ResourceValidationPolicy)]
    mending = [rule for rule in one if settings[rule.name].level is EnforcementLevel.REMEDIATE]
    mending = [rule for rule in mending if rule.has_remediation()]

    @cache
    def about_type(resource_type: str) -> tuple[list[Any], list[Any]]:
        """Those of ``one`` and of ``mending`` that have anything to say of it."""
        return [r for r in one if r.is_about(resource_type)], [r for r in mending if r.is_about(resource_type)]

    violations: list[Violation] = []

    def report(rule: Policy, resource: str) -> ReportViolation:
        advisory = settings[rule.name].level is EnforcementLevel.ADVISORY
        level = "advisory" if advisory else "mandatory"
        return lambda message, urn: violations.append(Violation(rule.name, level, urn or resource, message))

    pack = _pack()
    seen: list[PolicyResource] = []
    for resource in resources:
        checks, mends = about_type(resource.type)
        # Plain, so that no rule reads them again; a new one each time, because the rules tell by identity whether they
        # have read an object, and the caller may have changed it.
        props: Any = pack.Plain(resource.inputs)
        if mends or resource.unknown_paths:
            copied: Any = resource.inputs
            props = marshal.loads(marshal.dumps(copied))  # noqa: S302 - own bytes; a deep copy, ten times as fast
            _mark_unknown(props, resource.unknown_paths)
            props = props if resource.unknown_paths else pack.Plain(props)
        for rule in mends:
            # Typed as an awaitable; what comes back is the properties, or None for no change.
            props = rule.remediate(_args(resource, props, settings[rule.name])) or props
        if resource.unknown_paths:
            props = pack.Plain(pack.plain(props))
        seen.append(
            PolicyResource(
                resource.type, props, resource.urn, resource.name, _OPTIONS[resource.protect], None, None, [], {}
            )
        )
        for rule in checks:
            rule.validate(_args(resource, props, settings[rule.name]), report(rule, resource.urn))
    for about in active:
        if isinstance(about, StackValidationPolicy):
            about.validate(StackValidationArgs(seen, settings[about.name].properties), report(about, ""))
    return violations


def _args(resource: Resource, props: Any, setting: _Setting) -> ResourceValidationArgs:
    return ResourceValidationArgs(
        resource.type, props, resource.urn, resource.name, _OPTIONS[resource.protect], None, setting.properties
    )


def _mark_unknown(props: Any, paths: Sequence[tuple[str | int, ...]]) -> None:
    """Puts the engine's marker where preview cannot know a value: the rules read no other."""
    for path in paths:
        holder = props
        for step in path[:-1]:
            holder = holder[step]
        holder[path[-1]] = proxy.UNKNOWN_STRING_VALUE


def _given(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = config.get(name)
    return value if isinstance(value, Mapping) else {}


def _settings(config: Mapping[str, Any], rules: Sequence[Policy], source: str) -> dict[str, _Setting]:
    """Level and properties of every rule: its own, then `all`, then those given. As the engine, but nothing unknown."""
    problems = list(_problems(config, rules, source))
    if problems:
        raise UserError("\n".join(problems))
    everywhere = _level(config.get("all"))
    result = {}
    for rule in rules:
        schema = rule.config_schema.properties if rule.config_schema else {}
        defaults = {key: copy.copy(entry["default"]) for key, entry in schema.items() if "default" in entry}
        given = {key: value for key, value in _given(config, rule.name).items() if key != "enforcementLevel"}
        level = _level(config.get(rule.name)) or everywhere or rule.enforcement_level or EnforcementLevel.ADVISORY
        result[rule.name] = _Setting(level, {**defaults, **given})
    return result


def _level(value: Any) -> EnforcementLevel | None:
    text = value.get("enforcementLevel") if isinstance(value, Mapping) else value
    return EnforcementLevel(text) if text is not None else None


def _problems(config: Mapping[str, Any], rules: Sequence[Policy], source: str) -> Iterator[str]:
    schemas = {rule.name: rule.config_schema.properties if rule.config_schema else {} for rule in rules}
    for name, value in config.items():
        if name != "all" and name not in schemas:
            known = ["all", *schemas]
            yield f"{source}: {dotted((name,))}: no such rule{meant(name, known)}; allowed: {', '.join(known)}"
        else:
            yield from entry_problems(name, value, schemas.get(name, {}), source)
