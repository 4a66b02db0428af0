"""The recorder: what the program registers, without an engine, a cluster or the network."""

from __future__ import annotations

import gc
import os
import re
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pulumi
import pulumi.runtime.resource
import pytest

from cloudmart.errors import UserError
from cloudmart.preview.recorder import SECRET, UNKNOWN, ProgramError, Recorded, Recording, path_text, record


def project(root: Path, program: str, stack: str = "config: {}", name: str = "Pulumi.dev.yaml") -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / "Pulumi.yaml").write_text("name: shop\nruntime: python\n")
    (root / name).write_text(textwrap.dedent(stack))
    (root / "__main__.py").write_text(textwrap.dedent(program))
    return root


def by_name(recording: Recording, name: str) -> Recorded:
    return next(r for r in recording.resources if r.name == name)


K8S = """
import pulumi
import pulumi_kubernetes as k8s
import pulumi_random as random
"""


def test_inputs_are_recorded_in_camel_case_with_the_options_of_each_registration(tmp_path: Path) -> None:
    root = project(
        tmp_path,
        K8S
        + """
class Shop(pulumi.ComponentResource):
    def __init__(self, name, opts=None):
        super().__init__("cloudmart:test:Shop", name, None, opts)
        self.config = k8s.core.v1.ConfigMap("config", metadata={"name": "config", "namespace": "shop"},
            data={"A": "1"}, opts=pulumi.ResourceOptions(parent=self))
        self.claim = k8s.core.v1.PersistentVolumeClaim("claim", metadata={"name": "claim", "namespace": "shop"},
            spec=k8s.core.v1.PersistentVolumeClaimSpecArgs(access_modes=["ReadWriteOnce"]),
            opts=pulumi.ResourceOptions(parent=self, protect=True, retain_on_delete=True, depends_on=[self.config],
                ignore_changes=["spec.accessModes"], custom_timeouts=pulumi.CustomTimeouts(create="2m")))
        self.register_outputs({})
Shop("shop")
""",
    )
    recording = record("dev", root)
    claim = by_name(recording, "claim")
    assert claim.inputs["spec"] == {"accessModes": ["ReadWriteOnce"]}
    assert (claim.api_version, claim.kind, claim.namespace, claim.object_name) == (
        "v1",
        "PersistentVolumeClaim",
        "shop",
        "claim",
    )
    assert claim.is_kubernetes_object
    assert claim.protect
    assert claim.retain_on_delete
    assert claim.ignore_changes == ("spec.accessModes",)
    assert claim.custom_timeouts == {"create": "2m"}
    assert claim.dependencies == (by_name(recording, "config").urn,)
    assert claim.version
    assert claim.urn == ("urn:pulumi:dev::shop::cloudmart:test:Shop$kubernetes:core/v1:PersistentVolumeClaim::claim")
    assert claim.parent == by_name(recording, "shop").urn
    assert not by_name(recording, "shop").is_kubernetes_object


def test_a_generated_password_is_nowhere_in_the_inputs_and_its_source_is_known_to_the_apply_path(
    tmp_path: Path,
) -> None:
    root = project(
        tmp_path,
        K8S
        + """
password = random.RandomPassword("db-password", length=24, special=False)
k8s.core.v1.Secret("db", metadata={"name": "db"},
    string_data={"password": password.result, "url": pulumi.Output.format("postgres://app:{0}@db", password.result)})
pulumi.export("url", password.result)
""",
    )
    recording = record("dev", root)
    secret = by_name(recording, "db")
    assert secret.inputs["stringData"] == {"password": SECRET, "url": SECRET}
    assert {path_text(p) for p in secret.secret_paths} == {"stringData.password", "stringData.url"}
    sentinel = secret.secrets[("stringData", "password")]
    assert secret.secrets[("stringData", "url")] == f"postgres://app:{sentinel}@db"
    generated = recording.generated[sentinel]
    assert (generated.source, generated.name, generated.property) == ("random", "db-password", "result")
    assert generated.inputs == {"length": 24, "special": False}
    assert recording.outputs == {"url": SECRET}
    assert "cloudmart-generated" not in repr(recording.resources)


def test_a_secret_that_the_program_puts_into_plain_view_is_masked_and_reported(tmp_path: Path) -> None:
    root = project(
        tmp_path,
        K8S
        + """
password = random.RandomPassword("p", length=24)
k8s.core.v1.ConfigMap("leaky", metadata={"name": "leaky"}, data={"p": pulumi.Output.unsecret(password.result)})
""",
    )
    leaky = by_name(record("dev", root), "leaky")
    assert leaky.inputs["data"] == {"p": SECRET}
    assert leaky.leaks == (("data", "p"),)


def test_encrypted_configuration_works_without_its_passphrase_and_stays_secret(tmp_path: Path) -> None:
    root = project(
        tmp_path,
        K8S
        + """
config = pulumi.Config()
k8s.core.v1.Secret("s", metadata={"name": "s"}, string_data={"p": config.require_secret("postgresPassword")})
pulumi.export("stack", pulumi.get_stack())
pulumi.export("replicas", config.require_int("replicas"))
pulumi.export("debug", config.require_bool("debug"))
pulumi.export("tree", config.require_object("tree"))
pulumi.export("context", pulumi.Config("kubernetes").require("context"))
""",
        """
        config:
          postgresPassword: {secure: AAABAJ0cipher}
          shop:replicas: 3
          shop:debug: true
          shop:tree: {a: [1, {b: x}]}
          kubernetes:context: here
        """,
    )
    recording = record("dev", root)
    secret = by_name(recording, "s")
    assert secret.inputs["stringData"] == {"p": SECRET}
    generated = recording.generated[secret.secrets[("stringData", "p")]]
    assert (generated.source, generated.name) == ("config", "shop:postgresPassword")
    assert recording.outputs == {
        "stack": "dev",
        "replicas": 3,
        "debug": True,
        "tree": {"a": [1, {"b": "x"}]},
        "context": "here",
    }
    assert "cipher" not in repr(recording)


def test_the_program_finds_the_configuration_in_its_environment_as_under_the_engine(tmp_path: Path) -> None:
    program = """
    import json, os, pulumi
    pulumi.export("config", {k: v for k, v in json.loads(os.environ["PULUMI_CONFIG"]).items()
                             if k not in json.loads(os.environ["PULUMI_CONFIG_SECRET_KEYS"])})
    """
    root = project(tmp_path, program, "config: {a: 1, shop:b: {c: true}, d: {e: [{secure: x}]}}")
    assert record("dev", root).outputs == {"config": {"shop:a": "1", "shop:b": '{"c": true}'}}


def test_what_only_a_cluster_could_know_is_unknown_and_apply_does_not_run_on_it(tmp_path: Path) -> None:
    root = project(
        tmp_path,
        K8S
        + """
service = k8s.core.v1.Service("web", metadata={"name": "web"}, spec={"type": "LoadBalancer"})
address = service.status.apply(lambda status: status.load_balancer.ingress[0].ip)
k8s.core.v1.ConfigMap("dns", metadata={"name": service.metadata.name}, data={"ip": address})
""",
    )
    dns = by_name(record("dev", root), "dns")
    assert dns.inputs["data"] == {"ip": UNKNOWN}
    assert dns.unknown_paths == (("data", "ip"),)
    assert dns.object_name == "web"


def test_registrations_that_wait_for_others_are_all_there_and_in_the_same_order_every_time(tmp_path: Path) -> None:
    root = project(
        tmp_path,
        K8S
        + """
last = None
for i in range(30):
    name = pulumi.Output.from_input(f"m{i}") if last is None else pulumi.Output.format("m{0}-{1}", i, last.id)
    last = k8s.core.v1.ConfigMap(f"m{i}", metadata={"name": f"m{i}"}, data={"previous": name})
    k8s.core.v1.ConfigMap(f"free{i}", metadata={"name": f"free{i}"})
""",
    )
    first, second = record("dev", root), record("dev", root)
    assert len(first.resources) == 60
    assert by_name(first, "m29").inputs["data"]["previous"] == "m29-m28"
    assert first.resources == second.resources


@pytest.mark.timeout(60)
def test_a_task_that_never_ends_does_not_hold_the_preview_up(tmp_path: Path) -> None:
    program = (
        K8S
        + """
import asyncio
asyncio.ensure_future(asyncio.Event().wait())
k8s.core.v1.ConfigMap("a", metadata={"name": "a"}, opts=pulumi.ResourceOptions(transforms=[lambda args: None]))
"""
    )
    assert [r.name for r in record("dev", project(tmp_path, program)).resources] == ["a"]


def test_roots_and_stacks_do_not_mix_in_one_process(tmp_path: Path) -> None:
    program = """
    import pulumi
    from parts.names import NAME
    pulumi.export("name", NAME)
    pulumi.export("colour", pulumi.Config().get("colour"))
    """
    roots = [project(tmp_path / name, program, f"config: {{shop:colour: {name}}}") for name in ("base", "head")]
    for root in roots:
        (root / "parts").mkdir()
        (root / "parts/__init__.py").touch()
        (root / "parts/names.py").write_text(f"NAME = {root.name!r}\n")

    def state() -> tuple[object, ...]:
        sdk = (pulumi.runtime.settings.get_monitor(), pulumi.runtime.resource._get_stack_trace)
        return (sys.argv, list(sys.path), dict(os.environ), Path.cwd(), gc.isenabled(), sdk)

    before = state()
    outputs = [record("dev", root).outputs for root in (*roots, roots[0])]
    assert outputs == [{"name": n, "colour": n} for n in ("base", "head", "base")]
    assert "parts" not in sys.modules
    assert state() == before


def test_a_program_that_was_recorded_is_not_kept_in_memory(tmp_path: Path) -> None:
    root = project(tmp_path, "import parts\nparts.Part('part')\n")
    (root / "parts.py").write_text(
        "import pulumi\n"
        "class Part(pulumi.ComponentResource):\n"
        "    def __init__(self, name):\n"
        "        super().__init__('shop:index:Part', name)\n"
    )
    assert [one.name for one in record("dev", root).resources] == ["part"]
    gc.collect()
    assert not [one for one in gc.get_objects() if isinstance(one, type) and one.__module__ == "parts"]


def test_a_user_error_of_the_program_comes_out_as_itself(tmp_path: Path) -> None:
    raising = "from cloudmart.errors import UserError\nraise UserError('catalog.yaml: services: found nothing')"
    with pytest.raises(UserError, match=r"^catalog.yaml: services: found nothing$"):
        record("dev", project(tmp_path / "direct", raising))
    in_apply = """
    import pulumi
    from cloudmart.errors import UserError
    def stop(_): raise UserError('late')
    pulumi.export("x", pulumi.Output.from_input(1).apply(stop))
    """
    with pytest.raises(UserError, match=r"^late$"):
        record("dev", project(tmp_path / "apply", in_apply))


def test_any_other_failure_names_its_type_and_line_and_keeps_its_cause(tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match=r"KeyError: 'missing' \(__main__.py, line 2\)") as caught:
        record("dev", project(tmp_path, "\n{}['missing']\n"))
    assert isinstance(caught.value.__cause__, KeyError)
    assert caught.value.exit_code == 2


def test_resources_stand_in_the_order_in_which_the_program_makes_them(tmp_path: Path) -> None:
    program = (
        K8S
        + """
import pulumi
first = k8s.core.v1.ConfigMap('first', metadata={'name': 'first'})
waits = pulumi.ResourceOptions(depends_on=[first])
for name in 'hgfedcba':  # whoever waits is registered after those that do not, in the order of a set
    k8s.core.v1.ConfigMap(name, metadata={'name': name}, opts=waits if name in 'geca' else None)
"""
    )
    recorded = record("dev", project(tmp_path, program)).resources
    assert [resource.name for resource in recorded] == ["first", *"hgfedcba"]


@pytest.mark.timeout(20)
def test_an_exception_that_is_its_own_cause_is_told_and_not_followed_forever(tmp_path: Path) -> None:
    root = project(tmp_path, "error = KeyError('missing')\nerror.__cause__ = error\nraise error\n")
    with pytest.raises(ProgramError, match=r"KeyError: 'missing'"):
        record("dev", root)


def test_a_failure_inside_a_registration_is_not_swallowed(tmp_path: Path) -> None:
    program = K8S + "\nfor _ in range(2): k8s.core.v1.ConfigMap('twice', metadata={'name': 'twice'})\n"
    with pytest.raises(UserError, match=r"same URN.*ConfigMap::twice"):
        record("dev", project(tmp_path, program))


def test_a_call_to_a_provider_is_refused_by_name(tmp_path: Path) -> None:
    program = K8S + "\npulumi.runtime.invoke('kubernetes:helm:template', {})\n"
    with pytest.raises(UserError, match="kubernetes:helm:template, which needs a provider"):
        record("dev", project(tmp_path, program))


@pytest.mark.parametrize(
    ("stack", "text", "message"),
    [
        ("staging", "config: {}", r"Pulumi.staging.yaml: no such file; stacks here: dev"),
        ("../dev", "config: {}", r"a stack's name is made of"),
        ("dev", "config: [1]", r"Pulumi.dev.yaml: config: expected a mapping .* found list"),
        ("dev", "config: {a: [}", r"Pulumi.dev.yaml:1: not valid YAML"),
        ("dev", "- 1", r"Pulumi.dev.yaml:1: found a list; allowed: a mapping"),
    ],
)
def test_a_bad_stack_file_is_one_clear_error(tmp_path: Path, stack: str, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        record(stack, project(tmp_path, "", text))
    assert "\n" not in str(caught.value)


def test_nothing_reaches_for_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError(f"network: {args}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    root = project(tmp_path, K8S + "\nk8s.core.v1.ConfigMap('a', metadata={'name': 'a'})\n")
    assert [r.name for r in record("dev", root).resources] == ["a"]


def test_what_the_program_prints_does_not_get_into_standard_output(tmp_path: Path) -> None:
    root = project(tmp_path, "import pulumi\nprint('hello')\npulumi.log.warn('careful')\n")
    code = (
        f"from pathlib import Path; from cloudmart.preview.recorder import record; record('dev', Path({str(root)!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert "hello" in done.stderr
    assert "careful" in done.stderr


RENAMED = """
import pulumi
import pulumi_kubernetes as k8s
import pulumi_random as random

class Store(pulumi.ComponentResource):
    def __init__(self, name, opts=None):
        super().__init__("{type}", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        random.RandomPassword(f"{{name}}-password", length=8, opts=child)
        metadata = {{"name": "postgres", "namespace": "shop"}}
        k8s.core.v1.PersistentVolumeClaim("claim", metadata=metadata, opts=child)

class Platform(pulumi.ComponentResource):
    def __init__(self, name):
        super().__init__("cloudmart:test:Platform", name)
        Store("{name}", pulumi.ResourceOptions(parent={parent}, aliases={aliases}))

Platform("shop")
"""


@pytest.mark.parametrize(
    ("changed", "alias"),
    [
        ({"type": "cloudmart:test:Database"}, 'pulumi.Alias(type_="cloudmart:test:Store")'),
        ({"name": "postgres"}, 'pulumi.Alias(name="database")'),
        ({"parent": "None"}, 'pulumi.Alias(parent="PLATFORM")'),
        (
            {"type": "cloudmart:test:Database", "name": "postgres"},
            'pulumi.Alias(type_="cloudmart:test:Store", name="database")',
        ),
    ],
    ids=["another type", "another name", "another parent", "another type and name"],
)
def test_what_is_renamed_or_moved_with_an_alias_is_the_same_and_without_one_is_another(
    changed: dict[str, str], alias: str, tmp_path: Path
) -> None:
    first = {"type": "cloudmart:test:Store", "name": "database", "parent": "self", "aliases": "[]"}
    before = record("dev", project(tmp_path / "before", RENAMED.format(**first)))
    platform = by_name(before, "shop").urn
    moved = first | changed
    kept = moved | {"aliases": f"[{alias.replace('PLATFORM', platform)}]"}
    after, lost = (
        record("dev", project(tmp_path / folder, RENAMED.format(**values)))
        for folder, values in (("kept", kept), ("lost", moved))
    )
    old = {found.urn for found in before.resources if found.custom}
    assert len(old) == 2
    assert old <= {urn for found in after.resources for urn in (found.urn, *found.aliases)}
    # Not all: a parent's name is no part of its children's URNs.
    assert not old <= {urn for found in lost.resources for urn in (found.urn, *found.aliases)}


@pytest.mark.parametrize(("name", "found"), [("", "nothing"), ("name: 5", "5"), ("name: ''", "''")])
def test_a_project_without_a_name_is_an_error_that_says_what_is_allowed(tmp_path: Path, name: str, found: str) -> None:
    (project(tmp_path, "") / "Pulumi.yaml").write_text(f"runtime: python\n{name}\n")
    with pytest.raises(UserError, match=rf"^Pulumi\.yaml: name: found {found}; allowed: the project's name$"):
        record("dev", tmp_path)


def test_a_folder_without_a_project_is_named_by_its_whole_path(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"^Pulumi\.yaml: no such file in {re.escape(str(tmp_path))}$"):
        record("dev", tmp_path)
