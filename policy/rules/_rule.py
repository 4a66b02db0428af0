"""How a rule is made: metadata, configuration schema and a check that yields findings, as a Pulumi policy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from pulumi_policy import (
    EnforcementLevel,
    PolicyConfigSchema,
    PolicyResourceOptions,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    Severity,
    StackValidationArgs,
    StackValidationPolicy,
)

from cloudmart.settings import rules

from ._kubernetes import Object, Stack, kind_of, read, read_stack

Config = Mapping[str, Any]
Schema = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Finding:
    """What is wrong (`what`), and where in the object (`at`). `mend` replaces the rule's own steps if given."""

    what: str
    at: str = ""
    mend: str = ""
    #: The object, for rules about a stack; a rule about one resource needs none.
    of: Object | None = None


@dataclass(frozen=True, kw_only=True)
class About:
    """The metadata of a rule. `why` and `mend` end every message of it."""

    name: str
    title: str
    topic: str
    severity: Severity
    why: str
    mend: str
    url: str
    level: EnforcementLevel = EnforcementLevel.MANDATORY

    def policy(self, schema: Schema | None) -> dict[str, Any]:
        """The keyword arguments that every kind of Pulumi policy takes."""
        return {
            "name": self.name,
            "description": self.title,
            "enforcement_level": self.level,
            "config_schema": PolicyConfigSchema(_plain({**(schema or {}), **rules.EXEMPT})),
            "severity": self.severity,
            "tags": [self.topic],
            "remediation_steps": self.mend,
            "url": self.url,
        }

    def message(self, found: Object, finding: Finding) -> str:
        """What, where, why, and how to mend it, in one line."""
        where = f"{found.where}, {finding.at}" if finding.at else found.where
        return f"{where}: {finding.what}. {self.why} Mend: {finding.mend or self.mend}"


def _plain(schema: Schema) -> dict[str, dict[str, Any]]:
    return {key: dict(part) for key, part in schema.items()}


def _exempt(found: Object, config: Config) -> bool:
    return any(fnmatchcase(found.id, pattern) for pattern in config["exempt"])


class KindPolicy(ResourceValidationPolicy):
    """A rule about single resources of `kinds`; for the engine, as any other that looks for itself.

    With `patches` it is also asked about their patches.
    """

    def __init__(self, kinds: frozenset[str], patches: bool = False, **given: Any) -> None:
        super().__init__(**given)
        self._kinds = kinds
        self._patches = patches

    def is_about(self, resource_type: str) -> bool:
        """Whether it has anything to say of a type such as ``kubernetes:apps/v1:Deployment``."""
        return _kind(resource_type, self._patches) in self._kinds


def _kind(resource_type: str, patches: bool) -> str | None:
    """The kind of a resource, for `patches` also of ``kubernetes:apps/v1:DeploymentPatch``."""
    return kind_of(resource_type.removesuffix("Patch") if patches else resource_type)


def resource_rule(
    about: About,
    kinds: frozenset[str],
    check: Callable[[Object, Config], Iterable[Finding]],
    schema: Schema | None = None,
    remediate: Callable[[Object, Any, Config], bool] | None = None,
    patches: bool = False,
) -> ResourceValidationPolicy:
    """A rule about one resource of `kinds`.

    `remediate` changes the properties in place and says whether it did: the engine's proxies keep secrets secret only
    when they are written through. `patches` says that it is asked about patches too, which is for a check that looks at
    nothing but what is set.
    """

    def validate(args: ResourceValidationArgs, report: ReportViolation) -> None:
        kind = _kind(args.resource_type, patches)
        if kind is None or kind not in kinds:
            return
        config = args.get_config()
        found = read(kind, args.urn, args.name, args.props)
        for finding in check(found, config):
            if _exempt(found, config):
                return
            report(about.message(found, finding), None)

    def mended(args: ResourceValidationArgs) -> Any:
        kind = kind_of(args.resource_type)
        if kind not in kinds or remediate is None:
            return None
        config = args.get_config()
        # Not `read`: the properties are about to change under the one that it remembers.
        found = Object.of(kind, args.urn, args.name, args.props)
        return args.props if not _exempt(found, config) and remediate(found, args.props, config) else None

    remediating = mended if remediate else None
    return KindPolicy(kinds, patches, validate=validate, remediate=remediating, **about.policy(schema))


def options_rule(
    about: About,
    kinds: frozenset[str],
    check: Callable[[Object, PolicyResourceOptions, Config], Iterable[Finding]],
    schema: Schema | None = None,
) -> ResourceValidationPolicy:
    """A rule about the options of one resource of `kinds`: what Pulumi is told of it, and Kubernetes never sees."""

    def validate(args: ResourceValidationArgs, report: ReportViolation) -> None:
        kind = kind_of(args.resource_type)
        if kind not in kinds:
            return
        config = args.get_config()
        found = read(kind, args.urn, args.name, args.props)
        for finding in check(found, args.opts, config):
            if not _exempt(found, config):
                report(about.message(found, finding), None)

    return KindPolicy(kinds, validate=validate, **about.policy(schema))


def object_rule(
    name: str,
    check: Callable[[Object, Config], Iterable[Finding]],
    *,
    schema: Schema | None = None,
    remediate: Callable[[Object, Any, Config], bool] | None = None,
    patches: bool = False,
) -> ResourceValidationPolicy:
    """A rule that admission enforces too: all but the check stands in the table that both read.

    `schema` replaces keys of the table's.
    """
    rule = rules.RULES[name]
    about = About(
        name=rule.name,
        title=rule.title,
        topic=rule.topic,
        severity=Severity(rule.severity),
        why=rule.why,
        mend=rule.mend,
        url=rule.url,
        level=EnforcementLevel(rule.level.value),
    )
    return resource_rule(about, rule.kinds, check, {**rule.schema, **(schema or {})}, remediate, patches)


def stack_rule(
    about: About, check: Callable[[Stack, Config], Iterable[Finding]], schema: Schema | None = None
) -> StackValidationPolicy:
    """A rule about the whole stack. Each finding names its object."""

    def validate(args: StackValidationArgs, report: ReportViolation) -> None:
        config = args.get_config()
        for finding in check(read_stack(args.resources), config):
            if finding.of is None:
                raise TypeError(f"{about.name}: a finding about a stack must name its object")
            if not _exempt(finding.of, config):
                report(about.message(finding.of, finding), finding.of.urn)

    return StackValidationPolicy(validate=validate, **about.policy(schema))
