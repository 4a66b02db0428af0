"""The GitOps layer: what Argo CD may bring into the cluster, what it shows, and what it leaves alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from cloudmart.errors import UserError
from cloudmart.finops import prices as price_books
from cloudmart.finops.estimate import estimate
from cloudmart.preview.policy import evaluate
from cloudmart.preview.recorder import Recorded, Recording, record
from cloudmart.preview.render import Manifest, manifests, render
from cloudmart.settings import load, stacks
from cloudmart.settings.charts import ARGO_CD
from cloudmart.settings.gitops import GitOpsSettings
from components.gitops_values import TRIGGERS, argo_cd_values
from tests.conftest import ROOT, Project
from tests.evaluators.network import Network, Pod

Json = Any

STACKS = stacks(ROOT)
REPOSITORY = {"url": "https://git.example.com/shop/delivery.git"}
LABELS = {"app": "argo-cd", "project": "shop", "team": "core", "cost-center": "CC-1"}
PAYER = {"project": "shop", "team": "core", "cost-center": "CC-1"}
CHART = ROOT / "tests" / "charts" / "argo-cd"


def settings(**config: Any) -> GitOpsSettings:
    return GitOpsSettings.model_validate({"enabled": True, "repository": REPOSITORY} | config)


def values(**config: Any) -> dict[str, Any]:
    return argo_cd_values(settings(**config), labels=LABELS, priority_class="shop-standard")


@lru_cache
def recorded(stack: str, config: str = "{}") -> Recording:
    """A stack with Argo CD on; `config` as JSON."""
    return record(stack, ROOT, overrides={"cloudmart:gitops": {"enabled": True} | json.loads(config)})


#: What the stacks do not say.
OTHERWISE = json.dumps(
    {
        "repository": {"url": "ssh://git@git.example.com:2222/shop.git", "cidrs": ["203.0.113.0/24"]},
        "sync": {"mode": "automated", "prune": False, "selfHeal": True},
        "notifications": {"enabled": True},
    }
)


def the(recording: Recording, kind: str) -> Recorded:
    (found,) = (r for r in recording.resources if r.type.endswith(f":{kind}") and r.name.startswith(("argo", "cloudm")))
    return found


def spec(recording: Recording, kind: str) -> Json:
    return the(recording, kind).inputs["spec"]


def selected(source: Json, path: str) -> bool:
    """Whether Argo CD reads a file: its globs' `*` matches `/` too, and braces are alternatives."""
    directory = source["directory"]
    excluded = directory["exclude"].removeprefix("{").removesuffix("}").split(",")
    return fnmatchcase(path, directory["include"]) and not any(fnmatchcase(path, glob) for glob in excluded)


def permitted(project: Json, item: Json) -> bool:
    """Argo CD's own check: AppProject.IsResourcePermitted in its source."""
    group = item["apiVersion"].rpartition("/")[0]
    namespace = item["metadata"].get("namespace")
    if namespace is None:
        return any(
            (one["group"], one["kind"]) == (group, item["kind"]) and fnmatchcase(item["metadata"]["name"], one["name"])
            for one in project["clusterResourceWhitelist"]
        )
    return {"group": group, "kind": item["kind"]} in project["namespaceResourceWhitelist"] and any(
        destination["namespace"] == namespace for destination in project["destinations"]
    )


def delivered(recording: Recording) -> list[Manifest]:
    """What is rendered and is not Argo CD's own."""
    return [
        manifest
        for manifest in manifests(recording)
        if not manifest.holds_secrets and "argocd" not in (manifest.recorded.namespace, manifest.recorded.object_name)
    ]


# --- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"repository": None}, "enabled without a repository; allowed: repository.url"),
        ({"repository": {"path": "deploy"}}, "url\n  Field required"),
        ({"sync": {"prune": True}}, "mode manual with prune or selfHeal; allowed: mode automated, or neither"),
        ({"sync": {"selfHeal": True}}, "mode manual with prune or selfHeal"),
        ({"sync": {"mode": "sometimes"}}, "'manual' or 'automated'"),
        ({"repository": REPOSITORY | {"path": "/deploy"}}, "String should match pattern"),
        ({"repository": REPOSITORY | {"path": "deploy/../.."}}, "String should match pattern"),
        ({"repository": REPOSITORY | {"revision": "--upload-pack=x"}}, "String should match pattern"),
        ({"repository": {"url": "https://git.example.com:99999/shop"}}, "port 99999 in the url; allowed: 1 to 65535"),
        ({"reconcileSeconds": 5}, "greater than or equal to 60"),
        ({"controller": {"replicas": 2}}, "Extra inputs are not permitted"),
    ],
)
def test_what_cannot_work_is_an_error_that_says_what_is_allowed(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as raised:
        settings(**config)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    "url", ["http://git.example.com/shop", "https://user:hunter2@git.example.com/shop", "file:///srv/shop", "shop", ""]
)
def test_only_the_url_of_a_repository_without_a_password_is_taken(url: str) -> None:
    with pytest.raises(ValidationError, match="a url that is not one of a repository"):
        settings(repository={"url": url})


def test_without_a_repository_the_message_names_file_and_key_and_no_password_in_a_url_is_repeated(
    project: Project,
) -> None:
    project.catalog(lambda catalog: catalog.pop("gitops"))
    project.config("prod", lambda config: config.update({"cloudmart:gitops": {"enabled": True}}))
    with pytest.raises(UserError) as raised:
        load("prod", project.root)
    assert str(raised.value).startswith("Pulumi.prod.yaml:")
    assert "gitops.enabled: found enabled without a repository; allowed: repository.url" in str(raised.value)
    url = "https://user:hunter2@git.example.com/shop"
    project.config("prod", lambda config: config["cloudmart:gitops"].update({"repository": {"url": url}}))
    with pytest.raises(UserError) as raised:
        load("prod", project.root)
    assert "without a password" in str(raised.value)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "port"),
    [
        ("https://git.example.com/shop.git", 443),
        ("https://git.example.com:8443/group/shop", 8443),
        ("ssh://git@git.example.com/shop.git", 22),
        ("ssh://git@git.example.com:2222/shop.git", 2222),
        ("git@git.example.com:group/shop.git", 22),
    ],
)
def test_git_is_reached_at_the_port_of_its_url(url: str, port: int) -> None:
    repository = settings(repository={"url": url}).repository
    assert repository is not None
    assert repository.port == port


# --- values ----------------------------------------------------------------------------------------------------------

EVERYTHING = {"notifications": {"enabled": True}, "server": {"replicas": 2}, "repoServer": {"replicas": 2}}


def test_everything_that_the_chart_runs_has_the_requests_and_limits_of_its_settings() -> None:
    made, config = values(**EVERYTHING), settings(**EVERYTHING)
    parts = {
        "controller": config.controller,
        "repoServer": config.repo_server,
        "server": config.server,
        "redis": config.redis,
        "redisSecretInit": config.secret_init,
        "notifications": config.notifications.controller,
    }
    for name, part in parts.items():
        assert made[name]["resources"] == {
            kind: {"cpu": str(getattr(part, kind).cpu), "memory": str(getattr(part, kind).memory)}
            for kind in ("requests", "limits")
        }
    assert made["applicationSet"]["replicas"] == 0
    assert set(made["applicationSet"]["resources"]) == {"requests", "limits"}
    assert made["dex"] == {"enabled": False}
    assert (
        made["global"]["podLabels"] == made["global"]["additionalLabels"] == made["crds"]["additionalLabels"] == PAYER
    )
    assert made["global"]["priorityClassName"] == "shop-standard"


def test_no_value_has_a_key_that_the_chart_does_not_know() -> None:
    known = yaml.safe_load((CHART / "values.yaml").read_text())

    def unknown(found: Mapping[str, Any], of: Mapping[str, Any], path: str = "") -> list[str]:
        return [
            name
            for key, value in found.items()
            for name in (
                [f"{path}{key}"]
                if key not in of
                else unknown(value, of[key], f"{path}{key}.")
                if isinstance(value, dict) and of[key]
                else []
            )
        ]

    # Every key of `configs.cm` becomes one of Argo CD's ConfigMap, and this one the chart leaves to Argo CD.
    assert unknown(values(**EVERYTHING), known) == ["configs.cm.application.resourceTrackingMethod"]


def test_the_stand_in_chart_has_the_pinned_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["name"], chart["version"]) == (ARGO_CD.name, ARGO_CD.version)


def test_settings_that_go_into_config_maps_are_text() -> None:
    configs = values()["configs"]
    assert {type(value) for part in configs.values() for value in part.values()} == {str}
    assert configs["cm"]["admin.enabled"] == "true"
    assert values(admin=False)["configs"]["cm"]["admin.enabled"] == "false"
    assert configs["cm"]["timeout.reconciliation"] == "180s"
    assert configs["cm"]["application.resourceTrackingMethod"] == "annotation"
    assert configs["params"] == {"controller.diff.server.side": "true", "server.insecure": "false"}
    hosts = ["git.example.com ssh-ed25519 AAAA", "git2.example.com ssh-ed25519 BBBB"]
    text = values(repository=REPOSITORY | {"knownHosts": hosts})["configs"]["ssh"]["extraHosts"]
    assert text.splitlines() == hosts


def test_argo_cd_does_not_look_at_secrets() -> None:
    unseen = yaml.safe_load(values()["configs"]["cm"]["resource.exclusions"])
    assert any("" in entry["apiGroups"] and "Secret" in entry["kinds"] for entry in unseen)
    assert all(set(entry) == {"apiGroups", "kinds"} for entry in unseen)


@pytest.mark.parametrize("part", ["repoServer", "server"])
@pytest.mark.parametrize(("replicas", "guarded"), [(1, False), (2, True)])
def test_a_disruption_budget_is_there_only_where_it_leaves_room_for_a_drain(
    part: str, replicas: int, guarded: bool
) -> None:
    made = values(**{part: {"replicas": replicas}})[part]
    assert made["replicas"] == replicas
    assert made["pdb"]["enabled"] is guarded


def test_only_what_talks_to_the_api_server_gets_a_token() -> None:
    made = values()
    assert made["repoServer"]["automountServiceAccountToken"] is False
    assert made["redis"]["automountServiceAccountToken"] is False


def test_messages_are_json_and_the_address_they_go_to_stays_in_a_secret() -> None:
    assert values()["notifications"] == {"enabled": False}
    made = values(notifications={"enabled": True, "secret": "chat"})["notifications"]
    assert made["secret"] == {"create": False, "name": "chat"}
    assert yaml.safe_load(made["notifiers"]["service.webhook.webhook"])["url"] == "$url"
    for trigger in TRIGGERS:
        (rule,) = yaml.safe_load(made["triggers"][f"trigger.{trigger}"])
        (template,) = rule["send"]
        message = yaml.safe_load(made["templates"][f"template.{template}"])["webhook"]["webhook"]
        assert message["method"] == "POST"
        assert json.loads(message["body"])["text"].startswith("{{.app.metadata.name}}: ")


# --- what Git may bring into the cluster -----------------------------------------------------------------------------


@pytest.mark.parametrize("stack", STACKS)
def test_the_project_allows_exactly_what_is_rendered(stack: str) -> None:
    recording = recorded(stack)
    project = spec(recording, "AppProject")
    objects = [manifest.object for manifest in delivered(recording)]
    assert len(objects) > 50
    assert [item["metadata"]["name"] for item in objects if not permitted(project, item)] == []
    # And no more: every entry of every list is there for something.
    groups = {
        (item["apiVersion"].rpartition("/")[0], item["kind"], item["metadata"].get("namespace")) for item in objects
    }
    whole = {
        (item["apiVersion"].rpartition("/")[0], item["kind"], item["metadata"]["name"])
        for item in objects
        if "namespace" not in item["metadata"]
    }
    assert {(e["group"], e["kind"], e["name"]) for e in project["clusterResourceWhitelist"]} == whole
    namespaced = {(group, kind) for group, kind, namespace in groups if namespace}
    assert {(e["group"], e["kind"]) for e in project["namespaceResourceWhitelist"]} == namespaced
    assert {e["namespace"] for e in project["destinations"]} == {namespace for *_, namespace in groups if namespace}
    assert {e["server"] for e in project["destinations"]} == {"https://kubernetes.default.svc"}
    assert "roles" not in project
    assert project["orphanedResources"] == {"warn": True}


@pytest.mark.parametrize(
    ("item", "why"),
    [
        ({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x", "namespace": "cloudmart"}}, "kind"),
        ({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "kube-system"}}, "namespace"),
        (
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "argocd-cm", "namespace": "argocd"}},
            "its own",
        ),
        ({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "argocd"}}, "its own"),
        ({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kube-system"}}, "somebody else's"),
        (
            {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "x"}},
            "rights",
        ),
        (
            {
                "apiVersion": "argoproj.io/v1alpha1",
                "kind": "AppProject",
                "metadata": {"name": "x", "namespace": "argocd"},
            },
            "what it may do",
        ),
    ],
)
@pytest.mark.parametrize("stack", STACKS)
def test_what_git_could_do_harm_with_is_not_allowed(stack: str, item: Json, why: str) -> None:
    assert not permitted(spec(recorded(stack), "AppProject"), item), why


@pytest.mark.parametrize("stack", STACKS)
def test_argo_cd_reads_every_rendered_file_but_those_of_its_own_namespace(stack: str, tmp_path: Path) -> None:
    recording = recorded(stack)
    source = spec(recording, "Application")["source"]
    files = render(recording, tmp_path).files
    left_out = [name for name in files if not selected(source, name)]
    assert sorted(left_out) == sorted(
        name for name in files if name.startswith("argocd/") or name == "_cluster/namespace-argocd.yaml"
    )
    assert len(left_out) > 5
    assert len(files) - len(left_out) == len(delivered(recording))
    # The render's own notes are JSON, which Argo CD would take for a manifest.
    assert not selected(source, ".cloudmart-render.json")
    assert not selected(source, "kustomization.yaml")


@pytest.mark.parametrize("stack", STACKS)
def test_what_only_the_engine_knows_is_in_no_file(stack: str, tmp_path: Path) -> None:
    recording = recorded(stack)
    digests = [hashlib.sha256(sentinel.encode()).hexdigest() for sentinel in recording.generated]
    text = "".join((tmp_path / name).read_text() for name in render(recording, tmp_path).files)
    # Argo CD would otherwise put the placeholder's digest where the password's is, and roll every pod.
    assert any(digest in str(manifest.object) for manifest in delivered(recording) for digest in digests)
    assert [digest for digest in digests if digest in text] == []
    assert "checksum/config" in text


@pytest.mark.parametrize("stack", STACKS)
def test_what_git_delivers_and_what_the_engine_applies_are_the_same_objects(stack: str, tmp_path: Path) -> None:
    recording = recorded(stack)
    applied = {
        (item["apiVersion"], item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"]): item
        for item in (json.loads(json.dumps(r.inputs)) for r in recording.resources if r.is_kubernetes_object)
        if item["kind"] != "Secret"
    }
    digests = {hashlib.sha256(sentinel.encode()).hexdigest() for sentinel in recording.generated}
    for item in list(applied.values()):
        # The two things that are left out, found here in another way: the count of what has an autoscaler ...
        if item["kind"] == "HorizontalPodAutoscaler":
            target = item["spec"]["scaleTargetRef"]
            key = (target["apiVersion"], target["kind"], item["metadata"]["namespace"], target["name"])
            applied[key]["spec"].pop("replicas", None)
        # ... and digests of values that are made once.
        for holder in (item, item.get("spec", {}).get("template", {})):
            annotations = holder.get("metadata", {}).get("annotations", {})
            for name in [name for name, value in annotations.items() if value in digests]:
                del annotations[name]
        if not item["metadata"].get("annotations", True):
            del item["metadata"]["annotations"]
    files = render(recording, tmp_path).files
    rendered = {}
    for name in files:
        item = yaml.safe_load((tmp_path / name).read_text())
        # For Argo CD alone: the engine knows the order from the program itself.
        annotations = item["metadata"].get("annotations", {})
        for mark in ("sync-wave", "sync-options"):
            annotations.pop(f"argocd.argoproj.io/{mark}", None)
        if not item["metadata"].get("annotations", True):
            del item["metadata"]["annotations"]
        rendered[item["apiVersion"], item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"]] = item
    assert len(rendered) == len(files) > 50
    assert rendered == applied


@pytest.mark.parametrize("stack", STACKS)
def test_the_application_points_at_the_stacks_own_folder_of_the_one_repository(stack: str) -> None:
    recording, repository = recorded(stack), load(stack, ROOT).gitops.repository
    assert repository is not None
    found, project = spec(recording, "Application"), spec(recording, "AppProject")
    assert project["sourceRepos"] == [found["source"]["repoURL"]] == [repository.url]
    assert found["source"]["path"] == f"{repository.path}/{stack}"
    assert found["source"]["targetRevision"] == repository.revision
    assert found["project"] == the(recording, "AppProject").object_name == "cloudmart"
    assert the(recording, "Application").object_name == f"cloudmart-{stack}"
    assert found["destination"] in project["destinations"]


def test_only_the_repository_server_reaches_git_and_only_there_and_nobody_comes_in() -> None:
    network = Network(m.object for m in manifests(recorded("dev", OTHERWISE)))
    git, elsewhere, api_server = "203.0.113.7", "198.51.100.7", "10.0.0.1"

    def pod(name: str) -> Pod:
        return Pod(name, "argocd", {"app.kubernetes.io/name": f"argocd-{name}"})

    repo_server, redis = pod("repo-server"), pod("redis")
    assert network.allows(repo_server, git, 2222)
    assert not network.allows(repo_server, git, 443)
    assert not network.allows(repo_server, elsewhere, 2222)
    assert not network.allows(repo_server, api_server, 6443)
    assert not any(network.allows(redis, peer, port) for peer in (git, api_server) for port in (2222, 443, 6443))
    for name in ("application-controller", "server", "notifications-controller", "redis-secret-init"):
        assert network.allows(pod(name), api_server, 6443)
        assert network.allows(pod(name), repo_server, 8081)
        assert not network.allows(pod(name), git, 2222)
    stranger = Pod("user-service", "cloudmart", {"app": "user-service"})
    for name in ("application-controller", "server", "repo-server", "redis"):
        assert not any(network.lets_in(peer, pod(name), 8080) for peer in (stranger, elsewhere))


# --- what it does, and when ------------------------------------------------------------------------------------------


def test_it_only_shows_what_differs_unless_a_stack_says_otherwise() -> None:
    assert "automated" not in spec(recorded("dev"), "Application")["syncPolicy"]
    policy = spec(recorded("dev", OTHERWISE), "Application")["syncPolicy"]
    assert policy["automated"] == {"prune": False, "selfHeal": True}


@pytest.mark.parametrize("stack", STACKS)
def test_nothing_is_deleted_that_nobody_has_confirmed_and_nothing_because_the_application_goes(stack: str) -> None:
    application = the(recorded(stack), "Application")
    options = application.inputs["spec"]["syncPolicy"]["syncOptions"]
    assert {"Prune=confirm", "Delete=false", "CreateNamespace=false", "ServerSideApply=true"} <= set(options)
    # Else a wave waits for the confirmation, and what comes after it is not applied.
    assert "PruneLast=true" in options
    assert "finalizers" not in application.metadata


@pytest.mark.parametrize("stack", STACKS)
def test_replicas_of_every_scaled_deployment_are_the_autoscalers(stack: str) -> None:
    recording = recorded(stack)
    scaled = {
        r.inputs["spec"]["scaleTargetRef"]["name"] for r in recording.resources if r.kind == "HorizontalPodAutoscaler"
    }
    ignored = spec(recording, "Application")["ignoreDifferences"]
    assert {entry["name"] for entry in ignored} == scaled != set()
    assert all(entry["jsonPointers"] == ["/spec/replicas"] for entry in ignored)
    assert "RespectIgnoreDifferences=true" in spec(recording, "Application")["syncPolicy"]["syncOptions"]


def test_messages_are_subscribed_to_only_where_they_are_sent() -> None:
    assert "annotations" not in the(recorded("dev"), "Application").metadata
    assert set(the(recorded("dev", OTHERWISE), "Application").metadata["annotations"]) == {
        f"notifications.argoproj.io/subscribe.{trigger}.webhook" for trigger in TRIGGERS
    }


# --- beside everything else ------------------------------------------------------------------------------------------


def test_on_it_adds_its_own_and_changes_nothing_else() -> None:
    # Admission policies name every layer's namespace.
    calm = {"cloudmart:admission": {"enabled": False}}
    on, off = (
        {
            r.urn: (r.inputs, r.dependencies)
            for r in record("dev", ROOT, overrides={"cloudmart:gitops": {"enabled": enabled}} | calm).resources
        }
        for enabled in (True, False)
    )
    added = on.keys() - off.keys()
    assert {urn: on[urn] for urn in off} == off
    assert added
    assert all("cloudmart:gitops:GitOps" in urn for urn in added)
    assert "argocd" not in str(sorted(off.items()))


@pytest.mark.parametrize("stack", STACKS)
def test_the_application_comes_last_and_goes_first(stack: str) -> None:
    recording = recorded(stack)
    application, release = the(recording, "Application"), the(recording, "Release")
    others = {m.recorded.urn for m in [*delivered(recording)] if m.recorded.kind not in ("AppProject", "Application")}
    assert others <= set(application.dependencies)
    assert the(recording, "AppProject").urn in application.dependencies
    # Its kinds come with the chart.
    assert release.urn in the(recording, "AppProject").dependencies
    assert not any(application.urn in r.dependencies for r in recording.resources)
    fences = {
        r.urn
        for r in recording.resources
        if r.namespace == "argocd" and r.kind in ("NetworkPolicy", "ResourceQuota", "LimitRange")
    }
    assert len(fences) == 7
    assert fences <= set(release.dependencies)


@pytest.mark.parametrize("stack", STACKS)
def test_the_pack_has_nothing_against_it(stack: str) -> None:
    found = evaluate(recorded(stack).resources, {"all": "mandatory"})
    # A stack that switches it on has the money for it.
    assert [violation for violation in found if violation.rule != "budget"] == []


def test_the_pack_misses_requests_that_are_not_set() -> None:
    resources = recorded("dev").resources
    for part in ("controller", "repoServer", "server", "redis", "redisSecretInit", "applicationSet"):
        poorer = [r if r is not the(recorded("dev"), "Release") else _without_resources(r, part) for r in resources]
        found = [violation for violation in evaluate(poorer, {"all": "mandatory"}) if violation.rule == "helm-requests"]
        assert len(found) == 1, part
        assert f"values.{part}.resources.requests" in found[0].message


def _without_resources(release: Recorded, part: str) -> Recorded:
    made = release.inputs["values"]
    poorer = {key: value for key, value in made[part].items() if key != "resources"}
    return replace(release, inputs=release.inputs | {"values": made | {part: poorer}})


def test_it_costs_what_runs_all_month_and_its_own_cost_center_pays() -> None:
    book = price_books.of_stack(load("prod", ROOT).prices, ROOT)
    lines = [line for line in estimate(recorded("prod").resources, book).lines if line.service == "argocd"]
    total = {
        item: sum((line.quantity * line.count.expected for line in lines if line.item == item), Decimal(0))
        for item in ("cpu", "memory")
    }
    # Controller, two repository servers, two servers, Redis; not the Job that makes Redis' password.
    assert total == {"cpu": Decimal("0.6"), "memory": Decimal(512 + 2 * 256 + 2 * 128 + 64) / 1024}
    assert {line.cost_center for line in lines} == {"CC-2002"}
