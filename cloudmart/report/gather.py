"""Everything that the report shows, asked for and worked out in one place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cloudmart.finops import actual, forecast, overhead
from cloudmart.finops import usage as usage_
from cloudmart.finops.actual import Payers
from cloudmart.finops.allocation.client import Client
from cloudmart.finops.allocation.windows import Window
from cloudmart.finops.forecast import Forecast
from cloudmart.finops.overhead import Share
from cloudmart.finops.rightsize import Usage
from cloudmart.preview import rightsizing
from cloudmart.preview.recorder import HOME
from cloudmart.preview.rightsizing import Proposal
from cloudmart.preview.run import Against, PreviewResult, preview
from cloudmart.settings import Settings, load


@dataclass(frozen=True, kw_only=True)
class Source:
    """Whom to ask for allocations, and for when."""

    client: Client
    window: Window
    #: Name of it in the report; the client's own where it is left out.
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What is known of a stack. ``None`` is what nobody asked for."""

    settings: Settings
    preview: PreviewResult
    #: By service, its part of the platform.
    shares: Mapping[str, Share]
    #: The settings of the base; ``None`` also where they cannot be read by this revision, as ``notes`` says then.
    before: Settings | None = None
    actual: actual.Report | None = None
    forecast: Forecast | None = None
    proposal: Proposal | None = None
    notes: Sequence[str] = ()


def gather(
    stack: str,
    root: Path | None = None,
    *,
    base: str | None = None,
    source: Source | None = None,
    usage: Sequence[Usage] | None = None,
    definitions: Path | None = None,
) -> Report:
    """Preview a stack, compare it with ``base``, ask ``source`` what ran, and size by ``usage`` or else by what ran.

    ``definitions`` of custom kinds are for the preview. Raises :class:`UserError` for bad input of any kind and where
    the source cannot be asked.
    """
    where = (root or HOME).resolve()
    result = preview(stack, where, against=Against(base=base) if base else None, definitions=definitions)
    settings = load(stack, where)
    notes: list[str] = []
    if base is not None and result.before is None:
        notes.append(f"services and edges are not compared: this revision cannot read the settings of {base}")
    ran = billed = None
    if source is not None:
        client, window = source.client, source.window
        # The stack's own: what else runs in the cluster is nobody's business here.
        namespaces = sorted({line.namespace for line in result.estimate.lines})
        ran = actual.report(
            client,
            window,
            "service",
            filters={"namespace": namespaces} if namespaces else None,
            payers=_payers(settings),
        )
        billed = forecast.compare(client, window, result.estimate)
        if source.name:
            ran, billed = replace(ran, source=source.name), replace(billed, source=source.name)
        if usage is None:
            usage = usage_.from_allocations(client, window, window.end, settings.namespace.name, settings.services)
            if source.name:
                usage = [replace(one, source=f"averages of {source.name}") for one in usage]
    proposal = None
    if usage is not None:
        proposal = rightsizing.propose(stack, where, usage, book=result.estimate.prices)
    return Report(
        settings=settings,
        preview=result,
        shares=overhead.shared(result.estimate, settings),
        before=result.before,
        actual=ran,
        forecast=billed,
        proposal=proposal,
        notes=notes,
    )


def _payers(settings: Settings) -> Payers:
    services = {name: settings.cost_center_of(service) for name, service in settings.services.items()}
    return {(settings.namespace.name, name): payer for name, payer in (services | settings.stores).items()}
