"""Generated secrets on the real engine: made anew for exactly those that read them, and nowhere to be found.

One story, told in order: what one test leaves is what the next finds.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import pytest
from click.testing import CliRunner, Result

from cloudmart.cli import cli
from cloudmart.errors import UserError
from tests.leaks import Watch, files, forms, held
from tests.pulumi.shop import SPACE, Shop

NAMES = {"postgres-password", "postgres-superuser-password", "redis-password", "kafka-password"}
PASSWORD = "random:index/randomPassword:RandomPassword"

#: Lets everything through in a dry run, so that a preview is content, and refuses one Secret's changes in earnest.
REFUSAL = """
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: no-kafka-credentials}
spec:
  matchConstraints:
    resourceRules:
      - {apiGroups: [""], apiVersions: ["*"], operations: [UPDATE], resources: [secrets]}
  validations:
    - expression: "object.metadata.name != 'kafka-credentials' || (has(request.dryRun) && request.dryRun)"
      message: refused by this test
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: no-kafka-credentials}
spec: {policyName: no-kafka-credentials, validationActions: [Deny]}
"""


@dataclass
class Seen:
    """What was seen of the story so far."""

    watch: Watch
    values: set[str] = field(default_factory=set)


@pytest.fixture(scope="module")
def seen(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    """The shop on the engine, and what its deploy showed meanwhile."""
    temporary = tmp_path_factory.mktemp("temporary")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(temporary))
        patch.setattr(tempfile, "tempdir", None)
        found = Seen(Watch(temporary))
        with found.watch:
            shop.up("dev")
        found.values |= shop.passwords()
        yield found


def _pods(shop: Shop) -> dict[str, set[str]]:
    """By app, the identities of the pods that stay."""
    found: dict[str, set[str]] = {}
    for item in shop.get("pods", "-n", SPACE):
        if "deletionTimestamp" not in item["metadata"]:
            found.setdefault(item["metadata"]["labels"]["app"], set()).add(item["metadata"]["uid"])
    return found


def _cloudmart(shop: Shop, seen: Seen, *arguments: str) -> Result:
    with seen.watch:
        ended = CliRunner().invoke(cli, [*arguments, "--root", str(shop.project.root)])
    shop.said += [ended.output, repr(ended.exception)]
    return ended


def _refused(shop: Shop) -> bool:
    try:
        shop.cluster.kubectl("annotate", "secret", "kafka-credentials", "-n", SPACE, "--overwrite", f"probe={uuid4()}")
    except UserError:
        return True
    return False


def _within(seconds: float, what: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline:
            return False
        time.sleep(1)
    return True


def _urn(shop: Shop, name: str) -> str:
    state = json.loads(shop.pulumi("stack", "export", "-s", "dev").stdout)
    (urn,) = [
        one["urn"]
        for one in state["deployment"]["resources"]
        if one["type"] == PASSWORD and one["urn"].endswith(f"::{name}")
    ]
    return str(urn)


def test_the_list_knows_from_the_state_how_old_each_is(shop: Shop, seen: Seen) -> None:
    ended = _cloudmart(shop, seen, "secrets", "list", "--stack", "dev", "--format", "json")
    assert ended.exit_code == 0, ended.output
    ages = {one["name"]: one["ageSeconds"] for one in json.loads(ended.stdout)["secrets"]}
    assert set(ages) == NAMES
    assert all(0 <= age < 900 for age in ages.values())


def test_a_rotated_secret_is_another_one_and_restarts_what_reads_it_and_nothing_else(shop: Shop, seen: Seen) -> None:
    # As states have it from before passwords could be rotated.
    protected = shop.pulumi("state", "protect", _urn(shop, "postgres-password"), "--yes", "-s", "dev")
    assert protected.returncode == 0, protected.stderr
    values, pods = shop.passwords(), _pods(shop)
    ended = _cloudmart(shop, seen, "secrets", "rotate", "postgres-password", "--stack", "dev", "--yes")
    assert ended.exit_code == 0, ended.output
    after = shop.passwords()
    seen.values |= after
    assert len(values - after) == len(after - values) == 1
    now = _pods(shop)
    assert {app for app, uids in now.items() if not uids & pods[app]} == {"postgres", "user-service"}
    assert {app for app, uids in now.items() if uids == pods[app]} == set(pods) - {"postgres", "user-service"}
    changed = [
        line for line in ended.output.splitlines() if line.startswith(("updated ", "created anew ", "replaced "))
    ]
    assert set(changed) == {
        "created anew RandomPassword postgres-password",
        "replaced RandomPassword postgres-password",
        "updated Secret postgres-credentials",
        "updated StatefulSet postgres",
        "updated Deployment user-service",
    }


def test_a_preview_by_plain_pulumi_then_finds_no_change(shop: Shop, seen: Seen) -> None:
    ended = shop.pulumi("preview", "-s", "dev", "--expect-no-changes", "--diff")
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_pods_are_told_of_a_new_password_only_when_the_secret_has_it(shop: Shop, seen: Seen) -> None:
    state = json.loads(shop.pulumi("stack", "export", "-s", "dev").stdout)["deployment"]["resources"]
    waits = {one["urn"].rsplit("::", 1)[-1]: one.get("dependencies", []) for one in state}
    for reader, secret in (
        ("user-service", "postgres-credentials"),
        ("postgres", "postgres-credentials"),
        ("product-service", "redis-credentials"),
        ("order-service", "kafka-credentials"),
    ):
        assert any(urn.endswith(f"Secret::{secret}") for urn in waits[reader]), reader


def test_a_rotation_that_the_cluster_refuses_restarts_nothing_and_is_finished_by_the_next_up(
    shop: Shop, seen: Seen
) -> None:
    values, pods = shop.passwords(), _pods(shop)
    shop.cluster.kubectl("apply", "-f", "-", stdin=REFUSAL)
    assert _within(30, lambda: _refused(shop))
    ended = _cloudmart(shop, seen, "secrets", "rotate", "kafka-password", "--stack", "dev", "--yes")
    assert isinstance(ended.exception, UserError)
    assert "Secret kafka-credentials: " in str(ended.exception)
    assert "refused by this test" in str(ended.exception)
    assert "the rotation stands in Pulumi.dev.yaml" in ended.output
    assert (shop.passwords(), _pods(shop)) == (values, pods)
    shop.cluster.kubectl("delete", "-f", "-", stdin=REFUSAL)
    assert _within(30, lambda: not _refused(shop))
    shop.up("dev")
    after = shop.passwords()
    seen.values |= after
    # Twice: by itself, and within a file.
    assert len(values - after) == len(after - values) == 2
    now = _pods(shop)
    assert {app for app, uids in now.items() if not uids & pods[app]} == {
        "kafka",
        "order-service",
        "notification-service",
    }


def test_the_search_finds_what_there_is(shop: Shop, seen: Seen) -> None:
    # `requirepass …` and the like count too: four values, one of them twice.
    assert len(seen.values) >= len(NAMES) + 1
    assert all(len(form) >= 30 for value in seen.values for form in forms(value))
    shown = shop.run(
        [
            "pulumi",
            "-C",
            str(shop.project.root / ".local" / "pulumi"),
            "stack",
            "export",
            "--show-secrets",
            "-s",
            "dev",
        ],
        shop.environment,
    ).stdout
    del shop.said[-2:]
    assert held(shop.passwords(), shown)
    assert any(b"pulumi" in command for command in seen.watch.processes)


def test_no_value_is_in_what_pulumi_and_the_commands_say(shop: Shop, seen: Seen) -> None:
    for arguments in (
        ("preview", "--json"),
        ("stack", "--show-urns"),
        ("stack", "output", "--json"),
        ("stack", "export"),
    ):
        with seen.watch:
            ended = shop.pulumi(*arguments, "-s", "dev")
        assert ended.returncode == 0, (arguments, ended.stderr)
    rotation = ("config", "set", "--path", "cloudmart:secrets.rotations.redis-password", "1")
    assert shop.pulumi(*rotation, "-s", "dev").returncode == 0
    # One more, and the engine logs the values that it hands to providers.
    loud = ("-v=8", "--logtostderr", "-s", "dev")
    with seen.watch:
        ended = shop.pulumi("up", "--yes", "--diff", *loud)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert "RandomPassword" in ended.stdout
    assert len(ended.stderr) > 100_000
    after = shop.passwords()
    assert after - seen.values
    seen.values |= after
    assert held(seen.values, "\n".join(shop.said)) == []


def test_no_value_is_in_the_state_in_a_file_or_in_a_process(shop: Shop, seen: Seen) -> None:
    root = shop.project.root
    found = {
        path: what
        for path, content in files(root, but=[root / ".venv", shop.cluster.directory])
        if (what := held(seen.values, content))
    }
    assert found == {}
    assert [path for path, _ in files(root / ".local" / "state") if path.name == "dev.json"]
    assert held(seen.values, seen.watch.seen) == []
    passphrase = (root / ".local" / "passphrase").read_text()
    assert held([passphrase], seen.watch.seen + "\n".join(shop.said).encode()) == []
    left = [path for path, content in files(Path(tempfile.gettempdir())) if held(seen.values, content)]
    assert left == []
