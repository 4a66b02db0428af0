"""Many runs of the same thing, each with a seed of its own: ``make reliability RUNS=200``.

A test here takes ``many`` and gives it what one run is. It carries the marker `reliability` alone, so that no other
target selects it; what it needs it starts itself.
"""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from cloudmart.cluster import toolchain

# The cluster's fixtures; a cluster of these tests' own is made when one asks for it.
from tests.cluster.conftest import cluster, home, say, shared  # noqa: F401
from tests.reliability import figures

#: A run is one seed; it returns what is worth a word in the table, or nothing.
Run = Callable[[int], str | None]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("reliability")
    group.addoption("--runs", type=int, default=3, help="How often each thing is tried.")
    group.addoption("--seed", type=int, default=1, help="Seed of the first run; the next ones count up.")
    group.addoption("--minutes", type=float, help="No further run of a kind starts after this time.")
    group.addoption("--figures", type=Path, help="Page that the figures are written into.")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.reliability)
            item.add_marker(pytest.mark.timeout(0))  # each run has limits of its own


def pytest_collection_finish(session: pytest.Session) -> None:
    wanted = any(item.get_closest_marker("reliability") for item in session.items)
    if wanted and not session.config.option.collectonly:
        capture = session.config.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled() if capture else contextlib.nullcontext():
            toolchain.ensure(say)


@dataclass(frozen=True)
class Many:
    """Runs one thing with each seed in turn, and writes down how it went."""

    test: str
    runs: int
    seed: int
    minutes: float | None
    page: Path | None

    def __call__(
        self,
        part: str,
        what: str,
        way: str,
        run: Run,
        *,
        at_most: int | None = None,
        note: Callable[[], str] | None = None,
    ) -> None:
        """Goes on after a run that failed; fails in the end when any did, with the seeds.

        A run stands in the page as soon as it is over, so that a session that is ended early has its figures.
        `at_most` bounds what is slow; `note` is asked after every run for what else stands in the row.
        """
        started, failed = time.monotonic(), dict[int, str]()
        kind = figures.Kind(part=part, what=what, way=way, test=self.test)
        done = 0
        for seed in range(self.seed, self.seed + min(self.runs, at_most or self.runs)):
            if self.minutes is not None and time.monotonic() - started > 60 * self.minutes:
                break
            word, why = None, None
            try:
                word = run(seed)
            except Exception as error:  # noqa: BLE001 - the next seed has its turn
                why = f"{error}" or type(error).__name__
                failed[seed] = traceback.format_exc(limit=-3)
                say(f"{what} ({way}), seed {seed}: {failed[seed]}")
            done += 1
            if done % 10 == 0:
                say(f"{what} ({way}): {done} runs, {len(failed)} failed, {time.monotonic() - started:.0f} s")
            if self.page is not None:
                figures.add(self.page, kind, seed, said=word, failed=why, note=note() if note else "")
        assert not failed, f"{len(failed)} of {done} runs failed, seeds {list(failed)}:\n" + "\n".join(failed.values())
        assert done, "no run at all"


@pytest.fixture
def many(request: pytest.FixtureRequest) -> Many:
    """Runs a thing as often as ``--runs`` says."""
    option = request.config.getoption
    test = request.node.originalname
    return Many(test, option("--runs"), option("--seed"), option("--minutes"), option("--figures"))
