"""One offline preview: record the program, then ask policies, schemas and price book about the recording."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cloudmart.errors import UserError
from cloudmart.finops import prices
from cloudmart.finops.estimate import Estimate, estimate
from cloudmart.preview import policy, schema
from cloudmart.preview.policy import Violation
from cloudmart.preview.recorder import HOME, Recording, path_text, record, uncollected
from cloudmart.preview.schema import SchemaError, SchemaResult
from cloudmart.settings import Settings, load


@dataclass(frozen=True)
class PreviewResult:
    """Everything that the reports show. ``errors`` are faults of objects: schema errors, and secrets in plain view."""

    recording: Recording
    kubernetes_version: str
    violations: list[Violation]
    schema: SchemaResult
    errors: list[SchemaError]
    estimate: Estimate

    @property
    def mandatory(self) -> list[Violation]:
        return [violation for violation in self.violations if violation.level == "mandatory"]

    @property
    def exit_code(self) -> int:
        """1 where ``pulumi up`` or the API server would refuse, else 0."""
        return 1 if self.mandatory or self.errors else 0


def preview(
    stack: str, root: Path | None = None, *, policy_config: Path | None = None, price_book: Path = prices.DEFAULT
) -> PreviewResult:
    """Preview ``stack`` of the project in ``root`` (default: this repository) without a cluster, engine or network.

    The policies are configured by ``policy_config``, or else by ``policy/config/<stack>.json`` of the project where it
    is there. Raises :class:`UserError` for bad input of any kind.
    """
    where = (root or HOME).resolve()
    # Read before the program runs: a typing error in here should not wait for it.
    config = read_policy_config(stack, where, policy_config)
    book = prices.load(price_book)
    with uncollected():
        recording = record(stack, where)
        return examine(recording, load(stack, where), config, book)


def examine(
    recording: Recording, settings: Settings, config: dict[str, object], book: prices.PriceBook
) -> PreviewResult:
    """What a recording amounts to. ``config`` is the policy pack's."""
    version = settings.cluster.kubernetes_version
    checked = schema.validate(recording.resources, version)
    return PreviewResult(
        recording=recording,
        kubernetes_version=version,
        violations=policy.evaluate(recording.resources, config, cost_centers=settings.cost_centers),
        schema=checked,
        errors=[*checked.errors, *_leaks(recording)],
        estimate=estimate(recording.resources, book),
    )


def read_policy_config(stack: str, root: Path, given: Path | None = None) -> dict[str, object]:
    """The pack's configuration for a stack; empty where there is none, which leaves every rule at its default."""
    file = given or root / "policy" / "config" / f"{stack}.json"
    if given is None and not file.is_file():
        return {}
    try:
        return policy.read_config(file)
    except UserError as error:
        # Relative to the project, so that a message reads the same on every machine.
        raise UserError(str(error).replace(f"{root}/", "")) from None


def _leaks(recording: Recording) -> list[SchemaError]:
    message = "holds a secret in plain view; pass it on as a secret Output, into a Secret"
    found = [SchemaError(r.urn, path_text(path), message) for r in recording.resources for path in r.leaks]
    return found + [SchemaError("stack outputs", path_text(path), message) for path in recording.output_leaks]
