"""The pack under the real engine, with a program that renders to a folder and so needs no cluster."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cloudmart.preview.policy import PACK
from tests.policy.objects import Resource, workload

NEEDED = ["pulumi", "pulumi-language-python", "pulumi-resource-kubernetes"]
_MISSING = [name for name in NEEDED if shutil.which(name) is None]

pytestmark = [
    pytest.mark.pulumi,
    pytest.mark.skipif(bool(_MISSING), reason=f"not on PATH: {', '.join(_MISSING)}"),
    pytest.mark.skipif(
        not (PACK.parent / ".venv").exists(), reason="the pack's environment, .venv, is missing: run `make setup`"
    ),
]

_PROGRAM = """
import json, pathlib
import pulumi, pulumi_kubernetes as kubernetes
provider = kubernetes.Provider("folder", render_yaml_to_directory="rendered")
body = json.loads(pathlib.Path("object.json").read_text())
kubernetes.apps.v1.Deployment(
    "user-service", metadata=body["metadata"], spec=body["spec"], opts=pulumi.ResourceOptions(provider=provider)
)
"""

Run = Callable[[Resource, dict[str, object]], "subprocess.CompletedProcess[str]"]


@pytest.fixture
def up(tmp_path: Path) -> Run:
    """``pulumi up`` of one Deployment with the pack, in a folder, state and home of its own."""
    project = tmp_path / "project"
    project.mkdir()
    environment = Path(sys.prefix)
    runtime = {"name": "python", "options": {"virtualenv": str(environment)}}
    (project / "Pulumi.yaml").write_text(json.dumps({"name": "scratch", "runtime": runtime}))
    (project / "__main__.py").write_text(_PROGRAM)
    (tmp_path / "state").mkdir()
    own = {
        "PULUMI_HOME": str(tmp_path / "home"),
        "PULUMI_BACKEND_URL": f"file://{tmp_path / 'state'}",
        "PULUMI_CONFIG_PASSPHRASE": "for this test alone",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
    }

    def pulumi(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["pulumi", *arguments, "--non-interactive"],
            cwd=project,
            env={**os.environ, **own},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def run(found: Resource, config: dict[str, object]) -> subprocess.CompletedProcess[str]:
        (project / "object.json").write_text(json.dumps(found.inputs))
        (tmp_path / "config.json").write_text(json.dumps(config))
        pack = ["--policy-pack", str(PACK), "--policy-pack-config", str(tmp_path / "config.json")]
        return pulumi("up", "--yes", "--skip-preview", "--stack", "dev", *pack)

    created = pulumi("stack", "init", "dev")
    assert created.returncode == 0, created.stderr
    return run


def _rendered(tmp_path: Path) -> str:
    return "".join(path.read_text() for path in (tmp_path / "project").glob("rendered/**/*deployment*.yaml"))


def test_a_mandatory_violation_stops_up_with_our_message_and_the_secret_is_not_shown(up: Run, tmp_path: Path) -> None:
    secret = [{"name": "DB_PASSWORD", "value": "hunter2"}]
    config: dict[str, object] = {"all": "disabled", "no-literal-secrets": "mandatory"}
    ended = up(workload().with_("spec.template.spec.containers.0.env", secret), config)
    assert ended.returncode != 0
    assert "[mandatory] [severity: critical]  no-literal-secrets" in ended.stdout
    assert (
        "Deployment cloudmart/user-service, container 'app', env: 'DB_PASSWORD' is a secret by its name" in ended.stdout
    )
    policies = ended.stdout.split("Policies:")[1].split("Diagnostics:")[0]
    assert "hunter2" not in policies
    assert _rendered(tmp_path) == ""


def test_advice_does_not_stop_up(up: Run, tmp_path: Path) -> None:
    config: dict[str, object] = {"all": "disabled", "disruption-budget": "advisory"}
    ended = up(workload(), config)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "2 replicas and no PodDisruptionBudget selects its pods" in ended.stdout
    assert "name: user-service" in _rendered(tmp_path)


def test_remediation_reaches_what_is_applied_and_the_next_up_changes_nothing(up: Run, tmp_path: Path) -> None:
    labels = {"project": "cloudmart", "team": "platform", "cost-center": "CC-2001"}
    config: dict[str, object] = {
        "all": "disabled",
        "cost-labels": {"enforcementLevel": "remediate", "namespaces": {"cloudmart": labels}},
    }
    bare = workload().without("metadata.labels")
    ended = up(bare, config)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "[remediate]  cost-labels" in ended.stdout
    assert "cost-center: CC-2001" in _rendered(tmp_path).split("spec:")[0]
    assert "3 unchanged" in up(bare, config).stdout


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_the_engine_accepts_the_configuration_of_every_stack(up: Run, stack: str) -> None:
    config = json.loads((PACK / "config" / f"{stack}.json").read_text())
    config = {
        name: "disabled" if isinstance(entry, str) else {**entry, "enforcementLevel": "disabled"}
        for name, entry in config.items()
    }
    ended = up(workload(), config)
    assert ended.returncode == 0, ended.stdout + ended.stderr
