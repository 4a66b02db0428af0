"""What has no command of its own that would run without a cluster: called as the commands call it."""

from __future__ import annotations

from pathlib import Path

from cloudmart.errors import UserError


def profile(*argv: str) -> None:
    """`local load --profile`."""
    from cloudmart.cluster.load import demand, read_profile

    found = read_profile(Path(argv[0]))
    for name in found.services:
        demand(found, name, 720, 1)


def chart(*argv: str) -> None:
    """The look at a chart before `up`."""
    from dataclasses import replace

    from cloudmart.cluster.charts import check_chart
    from cloudmart.settings.charts import KUBECOST, Source

    try:
        check_chart(
            replace(KUBECOST, repo=argv[0], source=Source.PATH),
            Path.cwd(),
            key="cloudmart:kubecost",
            off="cloudmart:kubecost.enabled to false",
        )
    except UserError:
        raise
