"""``cloudmart init``: a shop or a service to begin with."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from cloudmart.cli._options import ROOT, OneOf, completing, examples, formats
from cloudmart.cli._output import print_json, say
from cloudmart.errors import UserError

# The values of the settings, which take too long to load for a help text; a test holds them together.
_CRITICALITY = OneOf(["critical", "high", "standard", "low"])
_TRAFFIC = OneOf(["steady", "high", "bursts", "low"])
_NAME = r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?"

_T = TypeVar("_T")


@click.command(
    epilog=examples(
        "init bookshop  # a shop of your own, in ./bookshop; asks for the rest",
        'init bookshop --team books --cost-center BK-1 --service shelf-service --description "Which books there are"',
        "init --service review-service  # one more service in catalog.yaml",
        'init --service review-service --description "Product reviews" --need postgres',
    )
)
@click.argument("name", required=False)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the new shop. [default: NAME]")
@click.option("--team", help="Who runs the new shop. [default: platform]")
@click.option("--cost-center", help="Code of who pays for the new shop. [default: CC-1]")
@click.option("--service", help="Name of the new service, with NAME of the new shop's first one. [default: web]")
@click.option("--description", help="What it is for. Without it, a terminal is asked for it and for what is left out.")
@click.option("--criticality", type=_CRITICALITY, help="How much an outage hurts. [default: standard]")
@click.option("--traffic", type=_TRAFFIC, help="The shape of its load. [default: steady]")
@click.option("--replicas", type=click.IntRange(1, 1000), help="Pods, to begin with. [default: 2]")
@click.option(
    "--need",
    "needs",
    multiple=True,
    shell_complete=completing(lambda settings: [*settings.services, *settings.stores, *settings.externals]),
    help="A store, service or external that it calls; once for each.",
)
@click.option("--produces", multiple=True, help="A Kafka topic that it writes; once for each.")
@click.option("--consumes", multiple=True, help="A Kafka topic that it reads; once for each.")
@formats("text", "json")
@ROOT
def init(
    name: str | None,
    out: Path | None,
    team: str | None,
    cost_center: str | None,
    service: str | None,
    description: str | None,
    criticality: str | None,
    traffic: str | None,
    replicas: int | None,
    needs: tuple[str, ...],
    produces: tuple[str, ...],
    consumes: tuple[str, ...],
    format_: str,
    root: Path,
) -> None:
    """Start a shop NAME of your own in a new folder, or add a service to catalog.yaml.

    From options, or from questions on a terminal. Nothing is written unless every stack loads with it. A service's
    resources and autoscaling are small ones to begin with.
    """
    asks = description is None
    if name is None:
        if service is None:
            raise UserError("init: found neither NAME nor --service; allowed: NAME for a shop, --service for a service")
        of_shop = {"--out": out, "--team": team, "--cost-center": cost_center}
        if given := [option for option, value in of_shop.items() if value is not None]:
            raise UserError(f"init: found {', '.join(given)} without NAME; allowed: with a NAME, for a new shop")
    else:
        _check("NAME", name)
    if asks and not sys.stdin.isatty():
        raise UserError("--description: found none; allowed: a text, or a terminal to ask for it")
    if name is not None:
        team = _or_asked(team, "Team that runs it", "platform", asks)
        cost_center = _or_asked(cost_center, "Cost center that pays for it", "CC-1", asks)
        service = _or_asked(service, "Its first service", "web", asks)
    service = service or ""
    _check("--service", service)
    if description is None:
        description = click.prompt(f"What is {service} for", err=True)
    criticality = _or_asked(criticality, "Criticality", "standard", asks, _CRITICALITY)
    traffic = _or_asked(traffic, "Traffic", "steady", asks, _TRAFFIC)
    replicas = _or_asked(replicas, "Replicas", 2, asks, click.IntRange(1, 1000))
    if asks and not needs:
        needs = tuple(re.split(r"[\s,]+", click.prompt("Needs (names, or nothing)", default="", err=True)))
    needs = tuple(need for need in needs if need)
    topics = {"produces": list(produces), "consumes": list(consumes)}
    entry = {
        "description": description,
        "criticality": criticality,
        "traffic": traffic,
        "replicas": replicas,
        "resources": {
            "requests": {"cpu": "50m", "memory": "64Mi"},
            "limits": {"cpu": "200m", "memory": "128Mi"},
        },
        "autoscaling": {"min": replicas, "max": 2 * replicas, "cpu": 70},
        **({"needs": list(needs)} if needs else {}),
        **({"topics": {key: names for key, names in topics.items() if names}} if produces or consumes else {}),
    }
    if name is not None:
        _new_shop(name, out or Path(name), team or "", cost_center or "", service, entry, format_)
        return
    from cloudmart.settings.edit import add_service

    add_service(root, service, entry)
    if format_ == "json":
        print_json({"file": "catalog.yaml", "name": service, "service": entry})
    say(f"catalog.yaml has {service} now; `cloudmart preview` shows what it brings.")


def _new_shop(
    name: str, folder: Path, team: str, cost_center: str, service: str, entry: Mapping[str, Any], format_: str
) -> None:
    from cloudmart.shop import new

    shop = new.Shop(name=name, team=team, cost_center=cost_center, service_name=service, service=entry)
    files = new.write(shop, folder)
    if format_ == "json":
        print_json({"name": name, "out": str(folder), "files": list(files)})
    say(f"{len(files)} files in {folder}; go there, and `cloudmart preview` shows what they declare.")
    if " @ file:" in new.requirement():
        say(
            "note: its requirements.txt takes CloudMart from a folder of this machine; before others and pipelines use "
            "it, name a place that they reach"
        )


def _or_asked(given: _T | None, question: str, default: _T, asks: bool, kind: click.ParamType[Any] | None = None) -> _T:
    if given is not None:
        return given
    answer: _T = click.prompt(question, default=default, type=kind, err=True) if asks else default
    return answer


def _check(where: str, name: str) -> None:
    if not re.fullmatch(_NAME, name):
        raise UserError(f"{where}: found {name!r}; allowed: a-z, 0-9 and '-', up to 40, beginning with a letter")
