"""One offline preview: record the program, then ask policies, schemas and price book about the recording."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cloudmart.errors import UserError
from cloudmart.finops import budget, prices
from cloudmart.finops import delta as deltas
from cloudmart.finops import estimate as estimates
from cloudmart.finops.budget import Standing
from cloudmart.finops.delta import Delta
from cloudmart.finops.estimate import Estimate
from cloudmart.preview import policy, revision, schema, stored
from cloudmart.preview.policy import Violation
from cloudmart.preview.recorder import HOME, Recording, path_text, record, uncollected
from cloudmart.preview.schema import SchemaError, SchemaResult
from cloudmart.settings import Loaded, Settings, load, load_with_origins
from cloudmart.settings.load import policy_config as policy_file
from cloudmart.settings.rules import unregistered


@dataclass(frozen=True)
class PreviewResult:
    """Everything that the reports show. ``errors`` are faults of objects: schema errors, and secrets in plain view."""

    recording: Recording
    kubernetes_version: str
    violations: list[Violation]
    schema: SchemaResult
    errors: list[SchemaError]
    estimate: Estimate
    #: How the stack's budgets stand.
    budgets: Sequence[Standing] = ()
    #: Against what the preview was asked to compare with.
    delta: Delta | None = None
    #: What was declared, and where.
    loaded: Loaded | None = None
    #: The settings of the base; ``None`` also where this revision cannot read them, as a note of the delta says then.
    before: Settings | None = None

    @property
    def mandatory(self) -> list[Violation]:
        return [violation for violation in self.violations if violation.level == "mandatory"]

    @property
    def exit_code(self) -> int:
        """1 where ``pulumi up`` or the API server would refuse, else 0."""
        return 1 if self.mandatory or self.errors else 0


@dataclass(frozen=True)
class Against:
    """What to compare with: a revision of git, a state of Pulumi or a plan of its; one of the three."""

    base: str | None = None
    #: What ``pulumi stack export`` prints.
    state: Mapping[str, Any] | None = None
    #: What ``pulumi preview --json`` prints.
    plan: Mapping[str, Any] | None = None
    #: Name of state or plan in messages.
    source: str = ""


def preview(
    stack: str,
    root: Path | None = None,
    *,
    policy_config: Path | None = None,
    price_book: Path | None = None,
    against: Against | None = None,
    definitions: Path | None = None,
) -> PreviewResult:
    """Preview ``stack`` of the project in ``root`` (default: this repository) without a cluster, engine or network.

    The policies are configured by ``policy_config``, or else by ``policy/config/<stack>.json`` of the project where it
    is there; prices are the stack's own, or those of ``price_book``; custom kinds are checked by ``definitions``, see
    :func:`cloudmart.preview.schema.validate`. Raises :class:`UserError` for bad input of any
    kind.
    """
    where = (root or HOME).resolve()
    # Read before the program runs: a typing error in here should not wait for it.
    config = read_policy_config(stack, where, policy_config)
    book = prices.load(price_book) if price_book else None
    with contextlib.ExitStack() as opened:
        opened.enter_context(uncollected())
        base = None
        if against is not None and against.base is not None:
            base = opened.enter_context(revision.recording(against.base, stack, where))
        recording = record(stack, where)
        loaded = load_with_origins(stack, where, recording.config)
        settings, before = loaded.settings, None
        _check_version(loaded)
        _check_centers(config, settings, str(policy_config or policy_file(stack)))
        book = book or prices.of_stack(settings.prices, where)
        compare = None
        if against is not None:

            def compare(estimate: Estimate) -> Delta:
                nonlocal before
                delta, before = _delta(against, base, recording, settings, estimate)
                return delta

        result = examine(recording, settings, config, book, compare, definitions)
        return replace(result, loaded=loaded, before=before)


def _check_version(loaded: Loaded) -> None:
    version, known = loaded.settings.cluster.kubernetes_version, schema.versions()
    if version not in known:
        origin = loaded.origin_of(("cluster", "kubernetesVersion"))
        raise UserError(
            f"{origin}: cluster.kubernetesVersion: found {version!r}, which has no schema; allowed: {', '.join(known)}"
        )


def _check_centers(config: dict[str, object], settings: Settings, source: str) -> None:
    problems = list(unregistered(config, settings.cost_centers, source))
    if problems:
        raise UserError("\n".join(problems))


def examine(
    recording: Recording,
    settings: Settings,
    config: dict[str, object],
    book: prices.PriceBook,
    compare: Callable[[Estimate], Delta] | None = None,
    definitions: Path | None = None,
) -> PreviewResult:
    """What a recording amounts to. ``config`` is the policy pack's; ``compare`` makes the delta of the estimate.

    ``definitions`` is the folder with custom resource definitions.
    """
    version = settings.cluster.kubernetes_version
    checked = schema.validate(recording.resources, version, definitions)
    estimate = estimates.of_stack(recording.resources, settings, recording.root, prices=book)
    delta = compare(estimate) if compare else None
    before, causes = (delta.before, delta.causes()) if delta else (None, None)
    standings = budget.standings(delta.after if delta else estimate, settings.budgets, before, causes)
    return PreviewResult(
        recording=recording,
        kubernetes_version=version,
        violations=policy.evaluate(
            recording.resources,
            config,
            cost_centers=settings.cost_centers,
            budgets=budget.as_facts(standings),
        ),
        schema=checked,
        errors=[*checked.errors, *_leaks(recording)],
        estimate=estimate,
        budgets=standings,
        delta=delta,
    )


def _delta(
    against: Against,
    base: Callable[[], tuple[revision.Revision, Recording]] | None,
    recording: Recording,
    settings: Settings,
    estimate: Estimate,
) -> tuple[Delta, Settings | None]:
    """The delta, and the settings of the base where there is one that can be read."""
    root, book = recording.root, estimate.prices
    if base is not None:
        found, past = base()
        notes = []
        before: Settings | None = None
        payer, own = settings, book
        try:
            payer = before = load(recording.stack, found.root, past.config)
            own = prices.of_stack(before.prices, found.root)
        except UserError:
            # Its program ran, on settings of its own; only our reader is too new, or too old, for them.
            payer, own, before = settings, book, None
            notes.append(f"{found.title} is priced by the settings of this revision, its own cannot be read by it")
        if own.currency != book.currency:
            payer, own = settings, book
            notes.append(f"{found.title} is priced by this revision's book: its own is in another currency")
        priced = estimates.of_stack(past.resources, payer, found.root, prices=own)
        return deltas.compare(found.title, past.resources, recording.resources, (priced, estimate), notes=notes), before
    if against.state is not None:
        state = stored.from_state(against.state, recording.stack, against.source)
        priced = estimates.of_stack(state, settings, root, prices=book)
        now = stored.comparable(recording.resources)
        return deltas.compare(against.source, state, now, (priced, estimate)), None
    plan = stored.from_plan(against.plan or {}, recording.resources, recording.stack, against.source)
    sides = tuple(estimates.of_stack(side, settings, root, prices=book) for side in (plan.before, plan.after))
    delta = deltas.compare(
        f"what is deployed, by {against.source}",
        plan.before,
        plan.after,
        (sides[0], sides[1]),
        verdicts=plan.verdicts,
        notes=plan.notes,
    )
    return delta, None


def read_policy_config(stack: str, root: Path, given: Path | None = None) -> dict[str, object]:
    """The pack's configuration for a stack; empty where there is none, which leaves every rule at its default."""
    file = given or root / policy_file(stack)
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
