"""What `make bench` writes: a part of the page replaces itself and nothing else; what is measured is what is said."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from benchmarks import measure, pipeline
from benchmarks.__main__ import PARTS
from cloudmart.preview import schema
from cloudmart.settings import load
from tests.conftest import ROOT


def test_a_part_takes_its_own_place_and_leaves_the_others_as_they_are(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    measure.write_part("deploy", "## Deploy\n\nold", page)
    measure.write_part("preview", "## Preview", page)
    measure.write_part("deploy", "## Deploy\n\nnew", page)
    text = page.read_text()
    assert measure.parts(text) == {"preview": "## Preview", "deploy": "## Deploy\n\nnew"}
    assert text.index("## Preview") < text.index("## Deploy")


def test_every_part_of_the_page_can_be_measured_alone() -> None:
    assert set(measure.PARTS) <= set(PARTS)
    assert all((ROOT / "benchmarks" / f"{module}.py").is_file() for module in PARTS.values())
    assert set(measure.parts(measure.PAGE.read_text())) <= set(measure.PARTS)


def test_a_run_counts_the_wall_time_the_cpu_and_the_memory_of_a_command_and_its_children() -> None:
    busy = (
        "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass\nx = bytearray(80_000_000)"
    )
    child = f"import subprocess, sys, time\nsubprocess.run([sys.executable, '-c', {busy!r} + '\\ntime.sleep(0.3)'])"
    taken = measure.run([sys.executable, "-c", child], memory=True)
    assert taken.wall >= 0.6
    assert 0.3 <= taken.cpu < taken.wall
    assert taken.memory > 80_000_000


def test_a_command_that_fails_is_no_measurement() -> None:
    with pytest.raises(RuntimeError, match=r"ended with 3: .*too bad"):
        measure.run([sys.executable, "-c", "import sys; sys.stderr.write('too bad'); sys.exit(3)"])


def test_what_others_do_meanwhile_is_told_apart_from_the_command() -> None:
    with measure.machine() as seen:
        measure.run(
            [
                sys.executable,
                "-c",
                "import time\nend = time.process_time() + 0.2\nwhile time.process_time() < end: pass",
            ]
        )
        time.sleep(0.5)  # not while a command ran
    assert 0.2 <= seen.wall < 5
    assert "of the machine's time went to others" in str(seen)


def test_median_smallest_and_largest_stand_together() -> None:
    assert measure.spread([3.0, 1.0, 2.0]) == "2.00 (1.00-3.00)"
    assert measure.spread([1.5]) == "1.50"


def test_conftest_is_given_every_rule_that_admission_enforces_with_the_stacks_thresholds(tmp_path: Path) -> None:
    settings = load("prod", ROOT)
    pipeline.rules(settings, tmp_path)
    main = (tmp_path / "rego" / "main.rego").read_text()
    assert len(settings.rules) >= 10
    for name in settings.rules:
        assert f"data.rules.{name.replace('-', '_')}.violation" in main
        assert (tmp_path / "rego" / f"{name}.rego").is_file()
    assert '"maxCpuRatio": 5' in (tmp_path / "data" / "parameters.json").read_text()


def test_the_definitions_that_others_are_given_are_those_of_the_schema_check() -> None:
    found = schema.definitions("1.36")
    quantity = found["io.k8s.apimachinery.pkg.api.resource.Quantity"]
    assert "pattern" in quantity
    assert "io.k8s.api.apps.v1.Deployment" in found
