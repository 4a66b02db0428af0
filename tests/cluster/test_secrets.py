"""Generated secrets on a real API server, without a Pulumi CLI: made anew for exactly those that read them, and nowhere
to be found.

The tests of this file are one story, told in order: what one leaves is what the next finds.
"""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from cloudmart.cli import cli
from cloudmart.cluster.local import LocalCluster
from cloudmart.deploy import generated, up
from cloudmart.deploy.engine import NoCli
from cloudmart.preview.recorder import record
from cloudmart.secrets.inventory import inventory
from cloudmart.settings import load
from tests.conftest import Project, copy_project
from tests.leaks import Watch, files, forms, held

Json = Any

pytestmark = pytest.mark.cluster

SPACE = "cloudmart"
NAMES = {"postgres-password", "postgres-superuser-password", "redis-password", "kafka-password"}


@dataclass
class Shop:
    """A deployed copy of the project, and all that was said about it."""

    cluster: LocalCluster
    project: Project
    watch: Watch
    said: list[str] = field(default_factory=list)
    #: Every value that there has been.
    ever: set[str] = field(default_factory=set)

    def cloudmart(self, *arguments: str) -> Result:
        """A command as people run it, in this process."""
        with self.watch:
            ended = CliRunner().invoke(cli, [*arguments, "--root", str(self.project.root)])
        self.said += [ended.output, repr(ended.exception)]
        return ended

    def secret(self, name: str) -> dict[str, str]:
        """The values of a Secret."""
        found = json.loads(self.cluster.kubectl("get", "secret", name, "-n", SPACE, "-o", "json"))
        return {key: base64.b64decode(value).decode() for key, value in found["data"].items()}

    def values(self) -> dict[str, str]:
        """By name, every generated value, as it is kept."""
        kept = self.secret(generated.name_of("dev"))
        self.ever |= set(kept.values())
        return {key.split(".")[1]: value for key, value in kept.items()}

    def pods(self) -> dict[str, set[str]]:
        """By app, the pods' identities."""
        found: dict[str, set[str]] = {}
        for item in json.loads(self.cluster.kubectl("get", "pods", "-n", SPACE, "-o", "json"))["items"]:
            # Those that are on their way out are the rollout's.
            if "deletionTimestamp" not in item["metadata"]:
                found.setdefault(item["metadata"]["labels"]["app"], set()).add(item["metadata"]["uid"])
        return found

    def rotations(self) -> Json:
        """What the stack's file says of rotations."""
        config = yaml.safe_load((self.project.root / "Pulumi.dev.yaml").read_text())["config"]
        return config.get("cloudmart:secrets", {}).get("rotations")


@pytest.fixture(scope="module")
def shop(cluster: LocalCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    temporary = tmp_path_factory.mktemp("temporary")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(up, "find_cli", lambda *_: NoCli("no pulumi in this test"))
        patch.setenv("TMPDIR", str(temporary))
        patch.setattr(tempfile, "tempdir", None)
        found = Shop(cluster, copy_project(cluster.root), Watch(temporary))
        ended = found.cloudmart("up", "--stack", "dev")
        assert ended.exit_code == 0, ended.output
        yield found


def test_the_list_says_where_each_came_from_who_reads_it_and_how_old_it_is(shop: Shop) -> None:
    ended = shop.cloudmart("secrets", "list", "--stack", "dev", "--format", "json")
    assert ended.exit_code == 0, ended.output
    listed = {one["name"]: one for one in json.loads(ended.stdout)["secrets"]}
    assert set(listed) == NAMES
    assert all(0 <= one["ageSeconds"] < 900 for one in listed.values())
    assert {one["rotation"] for one in listed.values()} == {0}
    assert [of["object"] for of in listed["kafka-password"]["consumers"]] == [
        "StatefulSet cloudmart/kafka",
        "Deployment cloudmart/order-service",
        "Deployment cloudmart/notification-service",
    ]


def test_a_rotated_secret_is_another_one_and_restarts_what_reads_it_and_nothing_else(shop: Shop) -> None:
    values, pods = shop.values(), shop.pods()
    ended = shop.cloudmart("secrets", "rotate", "postgres-password", "--stack", "dev", "--yes")
    assert ended.exit_code == 0, ended.output
    assert "restarts: StatefulSet cloudmart/postgres, Deployment cloudmart/user-service" in ended.stdout
    assert shop.rotations() == {"postgres-password": 1}
    after = shop.values()
    assert {name for name, value in after.items() if values[name] != value} == {"postgres-password"}
    assert set(after) == NAMES
    assert shop.secret("postgres-credentials")["password"] == after["postgres-password"]
    replaced = {app for app, uids in shop.pods().items() if not uids & pods[app]}
    assert replaced == {"postgres", "user-service"}
    assert {app: uids for app, uids in shop.pods().items() if app not in replaced} == {
        app: uids for app, uids in pods.items() if app not in replaced
    }


def test_a_rotation_that_the_cluster_refuses_restarts_nothing_and_is_finished_by_the_next_up(shop: Shop) -> None:
    old, pods = shop.values(), shop.pods()
    patch = json.dumps({"immutable": True})
    shop.cluster.kubectl("patch", "secret", "redis-credentials", "-n", SPACE, "--type=merge", f"--patch={patch}")
    ended = shop.cloudmart("secrets", "rotate", "redis-password", "--stack", "dev", "--yes")
    assert ended.exit_code != 0
    assert "immutable" in str(ended.exception)
    assert "the rotation stands in Pulumi.dev.yaml" in ended.output
    # What was refused is not in use; both are kept.
    assert shop.secret("redis-credentials")["password"] == old["redis-password"]
    assert len(shop.secret(generated.name_of("dev"))) == len(NAMES) + 1
    assert shop.pods() == pods
    shop.cluster.kubectl("delete", "secret", "redis-credentials", "-n", SPACE)
    assert shop.cloudmart("up", "--stack", "dev").exit_code == 0
    after = shop.values()
    assert {name for name, value in after.items() if old[name] != value} == {"redis-password"}
    assert shop.secret("redis-credentials")["password"] == after["redis-password"]
    assert {app for app, uids in shop.pods().items() if not uids & pods[app]} == {"redis", "product-service"}


def test_the_next_up_keeps_the_rotated_ones_and_changes_nothing(shop: Shop) -> None:
    values, pods = shop.values(), shop.pods()
    ended = shop.cloudmart("up", "--stack", "dev", "--debug")
    assert "0 created, 0 changed, 0 removed" in ended.output
    assert (shop.values(), shop.pods()) == (values, pods)


@pytest.fixture
def everything(shop: Shop) -> list[str]:
    """Every value that this story has had."""
    return sorted(shop.ever)


def test_the_search_finds_what_there_is(shop: Shop, everything: list[str]) -> None:
    # Else the tests below would hold for a search that finds nothing.
    assert len(everything) == len(NAMES) + 2
    secrets = shop.cluster.kubectl("get", "secrets", "-n", SPACE, "-o", "json")
    assert len(held(shop.values().values(), secrets)) == len(NAMES)
    assert all(len(form) >= 30 for value in everything for form in forms(value))
    # It has seen this program's children.
    assert any(b"kubectl" in command and b"apply" in command for command in shop.watch.processes)


def test_no_value_is_in_what_the_commands_say(shop: Shop, everything: list[str], tmp_path: Path) -> None:
    formats = {"text", "json", "markdown"}
    for form in sorted(formats):
        shop.cloudmart("preview", "--stack", "dev", "--format", form)
        shop.cloudmart("secrets", "list", "--stack", "dev", "--format", form)
    shop.cloudmart("config", "show", "--stack", "dev", "--format", "json")
    shop.cloudmart("report", "--stack", "dev", "--out", str(tmp_path / "report.html"))
    shop.cloudmart("render", "--stack", "dev", "--out", str(tmp_path / "rendered"))
    written = list(files(tmp_path))
    assert {path.suffix for path, _ in written} >= {".html", ".yaml"}
    assert len(shop.said) > 20
    assert held(everything, "\n".join(shop.said)) == []
    assert {path.name: found for path, content in written if (found := held(everything, content))} == {}


def test_no_value_is_in_a_command_line_an_environment_or_a_temporary_file(shop: Shop, everything: list[str]) -> None:
    assert held(everything, shop.watch.seen) == []


def test_no_value_is_in_a_file_of_the_project(shop: Shop, everything: list[str]) -> None:
    # But for the API server's own store, which is the cluster.
    root = shop.project.root
    found = {
        path: what
        for path, content in files(root, but=[root / ".venv", shop.cluster.directory])
        if (what := held(everything, content))
    }
    assert found == {}


def test_no_value_is_in_an_object_but_in_a_secret(shop: Shop, everything: list[str]) -> None:
    names = shop.cluster.kubectl("api-resources", "--verbs=list", "-o", "name").split()
    kinds = ",".join(name for name in names if name != "secrets" and "metrics.k8s.io" not in name)
    objects = shop.cluster.kubectl("get", kinds, "--all-namespaces", "-o", "json", "--show-managed-fields")
    assert "StatefulSet" in objects
    assert "Event" in objects
    assert held(everything, objects) == []


def test_what_the_plan_calls_its_consumers_is_what_the_cluster_says(shop: Shop) -> None:
    """Whatever mounts or names a Secret in a live pod stands in the list."""
    root = shop.project.root
    listed = {
        (one.secret.partition("/")[2], consumer.label.partition("/")[2])
        for one in inventory(record("dev", root), load("dev", root))
        for consumer in one.consumers
    }
    live = set()
    for pod in json.loads(shop.cluster.kubectl("get", "pods", "-n", SPACE, "-o", "json"))["items"]:
        text = json.dumps(pod["spec"])
        live |= {
            (store, pod["metadata"]["labels"]["app"])
            for store in ("postgres-credentials", "redis-credentials", "kafka-credentials")
            if f'"{store}"' in text
        }
    assert live == listed
