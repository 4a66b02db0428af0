"""``cloudmart init``: a service to begin with."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from cloudmart.cli._options import ROOT, completing, examples, formats
from cloudmart.cli._output import print_json, say
from cloudmart.errors import UserError

# The values of the settings, which take too long to load for a help text; a test holds them together.
_CRITICALITY = click.Choice(["critical", "high", "standard", "low"])
_TRAFFIC = click.Choice(["steady", "high", "bursts", "low"])


@click.command(
    epilog=examples(
        "init --service review-service  # asks for the rest",
        'init --service review-service --description "Product reviews" --need postgres',
    )
)
@click.option("--service", "name", required=True, help="Name of the new service.")
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
    name: str,
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
    """Add a service to catalog.yaml, from options or from questions on a terminal.

    Nothing is written unless every stack loads with it. Its resources and autoscaling are small ones to begin with.
    """
    from cloudmart.settings.edit import add_service

    if not re.fullmatch(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?", name):
        raise UserError(f"--service: found {name!r}; allowed: a-z, 0-9 and '-', up to 40, beginning with a letter")
    if description is None:
        if not sys.stdin.isatty():
            raise UserError("--description: found none; allowed: a text, or a terminal to ask for it")
        description = click.prompt("What is it for", err=True)
        criticality = criticality or click.prompt("Criticality", type=_CRITICALITY, default="standard", err=True)
        traffic = traffic or click.prompt("Traffic", type=_TRAFFIC, default="steady", err=True)
        replicas = replicas or click.prompt("Replicas", type=click.IntRange(1, 1000), default=2, err=True)
        needs = needs or tuple(re.split(r"[\s,]+", click.prompt("Needs (names, or nothing)", default="", err=True)))
    replicas = replicas or 2
    topics = {"produces": list(produces), "consumes": list(consumes)}
    needs = tuple(need for need in needs if need)
    service = {
        "description": description,
        "criticality": criticality or "standard",
        "traffic": traffic or "steady",
        "replicas": replicas,
        "resources": {
            "requests": {"cpu": "50m", "memory": "64Mi"},
            "limits": {"cpu": "200m", "memory": "128Mi"},
        },
        "autoscaling": {"min": replicas, "max": 2 * replicas, "cpu": 70},
        **({"needs": list(needs)} if needs else {}),
        **({"topics": {key: names for key, names in topics.items() if names}} if produces or consumes else {}),
    }
    add_service(root, name, service)
    if format_ == "json":
        print_json({"file": "catalog.yaml", "name": name, "service": service})
    say(f"catalog.yaml has {name} now; `cloudmart preview --stack <stack>` shows what it brings.")
