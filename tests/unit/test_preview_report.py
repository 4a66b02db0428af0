"""The preview as a whole: what it finds, how it reports, and how it exits."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest

from cloudmart.cli import main
from cloudmart.cluster import crds
from cloudmart.errors import UserError
from cloudmart.finops import prices
from cloudmart.finops.estimate import Estimate, Line, Range
from cloudmart.preview import report
from cloudmart.preview.policy import Violation
from cloudmart.preview.recorder import HOME, Recorded, Recording
from cloudmart.preview.run import PreviewResult, preview
from cloudmart.preview.schema import SchemaError, SchemaResult
from tests.conftest import Project


def recorded(kind: str, name: str, parent: str = "") -> Recorded:
    return Recorded(
        urn=f"urn:pulumi:dev::shop::kubernetes:core/v1:{kind}::{name}",
        type=f"kubernetes:core/v1:{kind}",
        name=f"{name}-logical",
        inputs={"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": "shop"}},
        parent=parent,
        custom=True,
    )


SHOP = Recorded(
    urn="urn:pulumi:dev::shop::cloudmart:a:Shop::shop",
    type="cloudmart:a:Shop",
    name="shop",
    inputs={},
    parent="urn:pulumi:dev::shop::pulumi:pulumi:Stack::shop-dev",
    custom=False,
)
WEB = recorded("Service", "web", SHOP.urn)


def result(violations: list[Violation] | None = None, errors: list[SchemaError] | None = None) -> PreviewResult:
    line = Line(
        urn=WEB.urn,
        kind="Deployment",
        name="web",
        namespace="shop",
        service="web",
        cost_center="CC-1",
        item="cpu",
        quantity=Decimal("0.1"),
        unit="core",
        count=Range(Decimal(1), Decimal(2), Decimal(10)),
        price=Decimal("0.031611"),
    )
    return PreviewResult(
        recording=Recording("shop", "dev", Path(), [SHOP, WEB], {}, {}),
        kubernetes_version="1.36",
        violations=violations or [],
        schema=SchemaResult(errors or [], 1, {"example.com/v1 Thing": 2}),
        errors=errors or [],
        estimate=Estimate(prices.load(), (line,), ("an assumption",)),
    )


ADVICE = Violation("probes", "advisory", WEB.urn, "add a probe\nlike this")
STOP = Violation("pinned", "mandatory", WEB.urn, "image `latest` | pin <b>it</b>")
FAULT = SchemaError(WEB.urn, "spec.ports", "is | required")


def test_the_json_has_exactly_the_documented_keys() -> None:
    data = json.loads(report.as_json(result([STOP], [FAULT])))
    assert data == {
        "version": 1,
        "stack": "dev",
        "resources": [
            {
                "urn": SHOP.urn,
                "type": "cloudmart:a:Shop",
                "name": "shop",
                "apiVersion": None,
                "kind": None,
                "namespace": None,
            },
            {
                "urn": WEB.urn,
                "type": "kubernetes:core/v1:Service",
                "name": "web",
                "apiVersion": "v1",
                "kind": "Service",
                "namespace": "shop",
            },
        ],
        "policy": {
            "violations": [
                {"rule": "pinned", "level": "mandatory", "urn": WEB.urn, "message": STOP.message, "place": None}
            ]
        },
        "cost": {
            "monthly": {"min": 2.3076, "expected": 4.6152, "max": 23.076},
            "byCostCenter": {"CC-1": {"min": 2.3076, "expected": 4.6152, "max": 23.076}},
            "byService": {"web": {"min": 2.3076, "expected": 4.6152, "max": 23.076}},
            "currency": "USD",
            "budgets": [],
            "notes": ["an assumption"],
        },
        "schema": {"kubernetesVersion": "1.36", "checked": 1, "unchecked": {"example.com/v1 Thing": 2}},
        "errors": [{"urn": WEB.urn, "path": "spec.ports", "message": "is | required", "place": None}],
    }


@pytest.mark.parametrize(
    ("violations", "errors", "code"), [([], [], 0), ([ADVICE], [], 0), ([ADVICE, STOP], [], 1), ([], [FAULT], 1)]
)
def test_only_mandatory_violations_and_errors_fail_a_preview(
    violations: list[Violation], errors: list[SchemaError], code: int
) -> None:
    assert result(violations, errors).exit_code == code


def test_the_plain_text_has_the_tree_the_findings_and_the_money_and_no_control_characters() -> None:
    text = report.as_text(result([ADVICE, STOP], [FAULT]))
    assert "  shop  cloudmart:a:Shop\n    web  Service\n" in text
    assert "  advisory  probes  Service web\n    add a probe like this\n" in text
    assert "  mandatory  pinned  Service web\n    image `latest` | pin <b>it</b>\n" in text
    assert "  error  Service web  spec.ports: is | required\n" in text
    assert "2 x example.com/v1 Thing: no schema, not checked" in text
    assert "note: an assumption" in text
    rows = [line.split() for line in text.splitlines()]
    assert ["web", "2.31", "4.62", "23.08"] in rows
    assert ["CC-1", "2.31", "4.62", "23.08"] in rows
    assert "\x1b" not in text
    assert text.isascii()


def test_a_terminal_gets_lines_and_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        encoding = "utf-8"

        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    out = Terminal()
    report.print_text(result([STOP]), out)
    assert "└── " in out.getvalue()
    assert "\x1b[" in out.getvalue()


def copy_of_the_project(to: Path) -> Path:
    """The real program with files that a test may change: what is not changed is a link."""
    to.mkdir()
    for name in ("__main__.py", "Pulumi.yaml", "components", "cloudmart", "catalog.yaml", "policy"):
        (to / name).symlink_to(HOME / name)
    (to / "Pulumi.dev.yaml").write_bytes((HOME / "Pulumi.dev.yaml").read_bytes())
    return to


#: Groups of custom kinds whose definitions package registries have, and of those whose definitions they do not;
#: the last are made by Gatekeeper, out of its templates.
_PUBLISHED = {group for project in crds.PROJECTS for group in project.kinds}
_UNPUBLISHED = {"configuration.konghq.com", "postgresql.cnpg.io", "constraints.gatekeeper.sh"}


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_the_stacks_of_this_repository_are_clean_and_every_object_is_checked(stack: str) -> None:
    found = preview(stack, definitions=crds.folder())
    assert (found.mandatory, found.errors) == ([], [])
    groups = {kind.partition("/")[0] for kind in found.schema.unchecked}
    # Without the definitions in the cache, no custom kind is checked; with them, all but those that no registry has.
    assert groups <= _UNPUBLISHED | (_PUBLISHED if found.schema.unfetched else set())
    objects = sum(r.is_kubernetes_object for r in found.recording.resources)
    assert found.schema.checked + sum(found.schema.unchecked.values()) == objects
    assert found.schema.checked > 50
    monthly = found.estimate.monthly
    assert 0 < monthly.min <= monthly.expected <= monthly.max
    assert found.estimate.by_service.keys() >= {"user-service", "order-service", "kubecost"}


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


Command = Callable[..., Done]


@pytest.fixture
def cloudmart(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """The command in this process: starting Python and importing Pulumi each time takes longer than the preview."""

    def run(*arguments: str | Path) -> Done:
        monkeypatch.setattr(sys, "argv", ["cloudmart", *map(str, arguments)])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
        return Done(code, *capsys.readouterr())

    return run


@pytest.mark.slow
def test_the_command_prints_nothing_but_json_and_exits_clean(tmp_path: Path, cloudmart: Command) -> None:
    command = [sys.executable, "-m", "cloudmart.cli", "preview", "--stack", "dev", "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["stack"] == "dev"
    file = tmp_path / "report.json"
    again = cloudmart("preview", "--stack", "dev", "--format", "json", "--out", file)
    assert (again.returncode, again.stdout) == (0, "")
    assert file.read_text() == done.stdout, "two previews of the same files differ"


def test_a_mandatory_violation_exits_with_one_and_is_in_the_report(tmp_path: Path, cloudmart: Command) -> None:
    config = tmp_path / "policy.json"
    config.write_text('{"image-registries": {"enforcementLevel": "mandatory", "allowed": ["registry.example.com"]}}')
    done = cloudmart("preview", "--stack", "dev", "--format", "json", "--policy-config", config)
    assert done.returncode == 1, done.stderr
    rules = {v["rule"] for v in json.loads(done.stdout)["policy"]["violations"] if v["level"] == "mandatory"}
    assert "image-registries" in rules


def test_bad_input_exits_with_two_and_one_message_on_standard_error_alone(tmp_path: Path, cloudmart: Command) -> None:
    root = copy_of_the_project(tmp_path / "shop")
    (root / "Pulumi.dev.yaml").write_text("config: {cloudmart:services: {user-service: {replcas: 2}}}\n")
    for arguments in (
        ("preview", "--stack", "dev", "--root", root, "--format", "json"),
        ("render", "--stack", "dev", "--root", root, "--out", tmp_path / "out"),
        ("preview", "--stack", "nowhere"),
        ("preview", "--stack", "dev", "--format", "xml"),
    ):
        done = cloudmart(*arguments)
        assert (done.returncode, done.stdout) == (2, ""), arguments
        assert done.stderr.strip()
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_fault_of_the_program_shows_its_traceback_only_when_asked_for(tmp_path: Path, cloudmart: Command) -> None:
    root = copy_of_the_project(tmp_path / "shop")
    (root / "__main__.py").unlink()
    (root / "__main__.py").write_text("import pulumi\nraise ZeroDivisionError('oops')\n")
    quiet = cloudmart("preview", "--stack", "dev", "--root", root)
    loud = cloudmart("preview", "--stack", "dev", "--root", root, "--debug")
    assert (quiet.returncode, loud.returncode) == (2, 2)
    assert quiet.stderr == "error: the program failed: ZeroDivisionError: oops (__main__.py, line 2)\n"
    assert "Traceback" in loud.stderr


@pytest.mark.slow
def test_rendering_the_real_stack_is_the_same_every_time_and_holds_no_secret(
    tmp_path: Path, cloudmart: Command
) -> None:
    for name in ("a", "b"):
        assert cloudmart("render", "--stack", "dev", "--out", tmp_path / name).returncode == 0
    first, second = (
        {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        for folder in (tmp_path / "a", tmp_path / "b")
    )
    assert first == second
    assert "cloudmart/deployment-user-service.yaml" in first
    assert b"replicas:" not in first["cloudmart/deployment-user-service.yaml"], "the autoscaler owns it"
    assert not any(b"kind: Secret\n" in content or b"cloudmart-generated" in content for content in first.values())


def test_a_version_that_nothing_can_be_checked_against_is_an_error_with_its_line(project: Project) -> None:
    catalog = project.root / "catalog.yaml"
    catalog.write_text(catalog.read_text().replace('kubernetesVersion: "1.36"', 'kubernetesVersion: "1.99"'))
    with pytest.raises(UserError, match=r"^catalog\.yaml:\d+: cluster\.kubernetesVersion: found '1\.99', which has no"):
        preview("dev", project.root)


@pytest.mark.parametrize(
    ("entry", "allowed"),
    [({}, "CC-2001, CC-2002"), ({"costCenters": ["CC-1"]}, "CC-1")],
)
def test_a_cost_center_that_remediation_would_write_and_no_registry_has_is_an_error(
    project: Project, entry: dict[str, object], allowed: str
) -> None:
    written = {"cost-labels": {**entry, "namespaces": {"cloudmart": {"team": "x", "cost-center": "XX-9999"}}}}
    (project.root / "policy" / "config" / "dev.json").write_text(json.dumps(written))
    with pytest.raises(UserError) as caught:
        preview("dev", project.root)
    place = "policy/config/dev.json: cost-labels.namespaces.cloudmart.cost-center"
    assert str(caught.value) == f"{place}: found 'XX-9999'; allowed: {allowed}"
