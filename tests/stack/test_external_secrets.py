"""With External Secrets the program makes no secret value: it says where each is, and how the Secret is made of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from cloudmart.errors import UserError
from cloudmart.preview.recorder import overridden, record
from cloudmart.preview.render import render
from cloudmart.secrets import rotation
from cloudmart.secrets.inventory import Source, inventory
from cloudmart.settings import load, stacks
from tests.conftest import ROOT, Project
from tests.stack.objects import Json, Stack

EXTERNAL = {
    "cloudmart:secrets": {
        "external": {"store": {"name": "vault"}, "prefix": "shop/live/", "property": "value"},
        "rotations": {"redis-password": 2},
    }
}


@pytest.fixture(scope="module", params=[pytest.param(name, marks=pytest.mark.slow) for name in stacks(ROOT)])
def fetched(request: pytest.FixtureRequest) -> Stack:
    """A stack with its passwords elsewhere."""
    name = str(request.param)
    config = yaml.safe_load((ROOT / f"Pulumi.{name}.yaml").read_text())["config"]
    engine = {key: json.dumps(value) for key, value in overridden(config, EXTERNAL).items()}
    return Stack(load(name, ROOT, engine), record(name, ROOT, overrides=EXTERNAL))


def _specs(stack: Stack) -> dict[str, Json]:
    return {
        f"{found.namespace}/{found.object_name}": found.inputs["spec"]
        for found in stack.objects
        if found.kind == "ExternalSecret"
    }


def test_no_value_is_made_and_no_secret(fetched: Stack) -> None:
    recording = fetched.recording
    assert recording.generated == {}
    assert [r.name for r in recording.resources if r.kind == "Secret" or r.type.startswith("random:")] == []


def test_each_password_is_fetched_from_its_own_place(fetched: Stack) -> None:
    places = [datum["remoteRef"] for spec in _specs(fetched).values() for datum in spec["data"]]
    expected = [{"key": f"shop/live/{name}", "property": "value"} for name in fetched.settings.passwords]
    assert sorted(places, key=str) == sorted(expected, key=str)


def test_the_secrets_are_what_they_are_without_it(fetched: Stack) -> None:
    """The same names, types, labels and keys, with a template where the value stands."""
    generated = record(fetched.settings.stack, ROOT)
    made = [found for found in generated.resources if found.kind == "Secret"]
    specs = _specs(fetched)
    assert set(specs) == {f"{found.namespace}/{found.object_name}" for found in made}
    for found in made:
        target = specs[f"{found.namespace}/{found.object_name}"]["target"]
        template = target["template"]
        assert target["name"] == found.object_name
        assert template["type"] == found.inputs["type"]
        assert template["metadata"]["labels"] == found.metadata["labels"]
        data = {str(key): str(value) for (_, key), value in found.secrets.items()}
        for sentinel, of in generated.generated.items():
            template_of = f"{{{{ .{of.name.replace('-', '_')} }}}}"
            data = {key: value.replace(sentinel, template_of) for key, value in data.items()}
        assert template["data"] == data


def test_who_reads_a_password_follows_its_rotations(fetched: Stack) -> None:
    found = {one.name: one for one in inventory(fetched.recording, fetched.settings) if one.source is Source.EXTERNAL}
    assert set(found) == set(fetched.settings.passwords)
    for one in found.values():
        assert one.consumers, one.name
        assert [reader.label for reader in one.consumers if reader.pods and not reader.follows] == [], one.name
    assert {one.name: one.rotation for one in found.values() if one.rotation} == {"redis-password": 2}
    (redis,) = [r for r in fetched.objects if r.kind == "ExternalSecret" and r.object_name == "redis-credentials"]
    # A change of the object is what has the operator fetch the value again.
    assert redis.metadata["annotations"] == {"cloudmart/rotations": "redis-password=2"}
    assert redis.inputs["spec"]["refreshPolicy"] == "OnChange"


def test_all_of_it_can_be_in_git(fetched: Stack, tmp_path: Path) -> None:
    rendered = render(fetched.recording, tmp_path)
    assert [line for line in rendered.left_out if line.startswith("Secret ")] == []
    assert sum("/externalsecret-" in name for name in rendered.files) == len(_specs(fetched))
    (deployment,) = tmp_path.glob("*/deployment-product-service.yaml")
    # The rotations stand in Git, and so does what restarts pods for them.
    assert "checksum/redis-service" in deployment.read_text()


@pytest.mark.slow
def test_a_managed_stores_password_needs_no_configuration_then(project: Project) -> None:
    managed = {"mode": "external", "external": {"host": "db.example.com", "cidrs": ["10.0.0.0/8"]}}

    def change(config: Json) -> None:
        config["cloudmart:data"]["postgres"] = managed
        config.update(EXTERNAL)

    project.config("dev", change)
    assert "postgres-password" in load("dev", project.root).passwords
    planned = rotation.plan("dev", project.root, "postgres-password")
    assert planned.restarted == ("Deployment cloudmart/user-service",)
    assert not planned.generated
    assert "change it in the vault first" in "\n".join(rotation.lines(planned))


@pytest.mark.parametrize(
    ("external", "message"),
    [
        ({}, "secrets.external.store: found nothing; allowed: this key is required"),
        ({"store": {"name": "Vault"}}, "secrets.external.store.name: found 'Vault'; allowed: text that matches"),
        ({"store": {"name": "vault", "kind": "Vault"}}, "secrets.external.store.kind: found 'Vault'; allowed: "),
        ({"store": {"name": "vault"}, "prefix": "a b"}, "secrets.external.prefix: found 'a b'; allowed: text that"),
    ],
)
def test_a_vault_that_cannot_be_is_refused_where_it_stands(project: Project, external: Json, message: str) -> None:
    project.config("dev", lambda config: config.update({"cloudmart:secrets": {"external": external}}))
    with pytest.raises(UserError) as caught:
        load("dev", project.root)
    assert message in str(caught.value)
    assert str(caught.value).startswith("Pulumi.dev.yaml:")
