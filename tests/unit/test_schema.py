"""Strict schema validation: what the API server would refuse, without an API server."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from cloudmart.errors import UserError
from cloudmart.preview.recorder import SECRET, PropertyPath, Recorded
from cloudmart.preview.schema import SchemaError, SchemaResult, gap, summary, validate, versions

DEPLOYMENT: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "namespace": "shop", "labels": {"app.kubernetes.io/name": "web", "version": "v1"}},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}, "annotations": {"Prometheus.io/scrape": "true"}},
            "spec": {
                "containers": [
                    {
                        "name": "web",
                        "image": "example/web:1",
                        "ports": [{"name": "http", "containerPort": 8080}],
                        "resources": {"requests": {"cpu": "100m", "memory": "1.5Gi", "example.com/gpu": 1}},
                    }
                ]
            },
        },
    },
}
SECRET_OBJECT = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}}


def recorded(inputs: dict[str, Any], **more: Any) -> Recorded:
    kind = inputs["kind"]
    return Recorded(
        urn=f"urn:{kind}", type=f"kubernetes:x/v1:{kind}", name="x", inputs=inputs, parent="", custom=True, **more
    )


def errors(inputs: dict[str, Any], **more: Any) -> list[SchemaError]:
    return validate([recorded(inputs, **more)], "1.36").errors


def changed(path: PropertyPath, value: object) -> dict[str, Any]:
    result = copy.deepcopy(DEPLOYMENT)
    here: Any = result
    for part in path[:-1]:
        here = here[part]
    here[path[-1]] = value
    return result


def test_a_correct_object_passes_in_every_version_that_is_offered() -> None:
    assert "1.36" in versions()
    for version in versions():
        result = validate([recorded(DEPLOYMENT)], version)
        assert (result.errors, result.checked, result.unchecked) == ([], 1, {})


CONTAINER: PropertyPath = ("spec", "template", "spec", "containers", 0)


@pytest.mark.parametrize(
    ("path", "value", "where", "message"),
    [
        (("spec", "replica"), 2, "spec", "'replica' was unexpected"),
        ((*CONTAINER, "imagePullpolicy"), "Always", "spec.template.spec.containers[0]", "was unexpected"),
        (("spec", "replicas"), "2", "spec.replicas", "not of types"),
        (
            (*CONTAINER, "ports", 0, "containerPort"),
            0,
            "spec.template.spec.containers[0].ports[0].containerPort",
            "min",
        ),
        (
            (*CONTAINER, "resources", "requests", "memory"),
            "128MB",
            "spec.template.spec.containers[0].resources.requests.memory",
            "not a quantity",
        ),
        ((*CONTAINER, "name"), "Web", "spec.template.spec.containers[0].name", "not a DNS label"),
        (("metadata", "name"), "web_service", "metadata.name", "not a DNS subdomain"),
        (("metadata", "labels", "team"), "a team", "metadata.labels.team", "not a label value"),
        (("metadata", "labels", "team"), "x" * 64, "metadata.labels.team", "longer than 63"),
        (("metadata", "labels", "-team"), "a", "metadata.labels", "not a label key"),
        (("spec", "selector", "matchLabels", "app"), "-", "spec.selector.matchLabels.app", "not a label value"),
    ],
)
def test_a_fault_is_found_with_its_place_and_a_message_in_words(
    path: PropertyPath, value: object, where: str, message: str
) -> None:
    found = errors(changed(path, value))
    assert [error.path for error in found] == [where]
    assert message in found[0].message
    assert found[0].urn == "urn:Deployment"
    assert "^" not in found[0].message, "a regular expression is no explanation"


def test_a_required_field_that_is_missing_is_found() -> None:
    broken = copy.deepcopy(DEPLOYMENT)
    del broken["spec"]["selector"]
    assert [(e.path, e.message) for e in errors(broken)] == [("spec", '"selector" is a required property')]


@pytest.mark.parametrize(
    ("kind", "name", "fine"),
    [
        ("ConfigMap", "a.b-c", True),
        ("Namespace", "a.b", False),
        ("Service", "1st", False),
        ("Service", "x" * 64, False),
        ("ServiceAccount", "x" * 254, False),
    ],
)
def test_names_follow_the_rule_of_their_kind(kind: str, name: str, fine: bool) -> None:
    found = errors({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}})
    assert [error.path for error in found] == ([] if fine else ["metadata.name"])


def test_names_of_roles_may_hold_what_a_path_may_hold() -> None:
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "system:a"}}
    assert errors({**role, "rules": []}) == []


def test_masked_places_are_not_judged_but_their_neighbours_are() -> None:
    inputs = {**SECRET_OBJECT, "stringData": {"port": SECRET}, "immutable": SECRET, "typo": 1}
    found = errors(inputs, secrets={("immutable",): True, ("stringData", "port"): "1"})
    assert [(e.path, "typo" in e.message) for e in found] == [("", True)]


def test_a_kind_without_a_schema_is_listed_and_not_passed_over() -> None:
    # The second has the name of a built-in kind, in a group whose first part is the same.
    custom = [
        {"apiVersion": "kafka.strimzi.io/v1", "kind": "Kafka", "metadata": {"name": "k"}},
        {"apiVersion": "networking.istio.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "n"}},
    ]
    result = validate([recorded(c) for c in custom], "1.36")
    assert (result.errors, result.checked) == ([], 0)
    assert summary(result) == [
        "1 x kafka.strimzi.io/v1 Kafka: no schema, not checked",
        "1 x networking.istio.io/v1 NetworkPolicy: no schema, not checked",
    ]


@pytest.mark.parametrize(
    ("api_version", "kind"),
    [
        ("extensions/v1beta1", "Deployment"),
        ("policy/v1beta1", "PodDisruptionBudget"),
        ("v1", "Deployment"),
        # Pulumi has a resource for it, which its provider refuses.
        ("apps/v1", "DeploymentList"),
        ("lifecycle.k8s.io/v1alpha1", "EvictionRequest"),
    ],
)
def test_a_kind_of_kubernetes_own_groups_that_the_version_lacks_is_an_error(api_version: str, kind: str) -> None:
    found = validate([recorded({"apiVersion": api_version, "kind": kind, "metadata": {"name": "x"}})], "1.36")
    message = f"kind {kind} of {api_version}: Kubernetes 1.36 does not serve it"
    assert [(error.path, error.message) for error in found.errors] == [("apiVersion", message)]
    assert found.unchecked == {}


def test_what_is_no_kubernetes_object_is_left_alone() -> None:
    release = Recorded(
        urn="u", type="kubernetes:helm.sh/v3:Release", name="r", inputs={"chart": "x"}, parent="", custom=True
    )
    assert validate([release], "1.36").checked == 0


def test_an_unknown_version_is_an_error_that_names_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"cluster.kubernetesVersion: found '1.99'.*1.36"):
        validate([], "1.99")


# --- custom kinds ----------------------------------------------------------------------------------------------------

APPLE: dict[str, Any] = {
    "type": "object",
    "required": ["spec"],
    "properties": {
        "metadata": {"type": "object"},
        "spec": {
            "type": "object",
            "required": ["size"],
            "properties": {
                "size": {"type": "integer", "minimum": 0, "exclusiveMinimum": True},
                "port": {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]},
                "note": {"type": "string", "nullable": True, "enum": ["ripe", "green"]},
                "label": {"type": "string", "pattern": "^[a-z]+$"},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                "marks": {"type": "object", "additionalProperties": {"type": "string"}},
                "empty": {"type": "object"},
                "pod": {"type": "object", "x-kubernetes-embedded-resource": True, "properties": {"spec": {}}},
                "worms": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {"long": {"type": "boolean"}, "short": {"type": "boolean"}},
                        "oneOf": [{"required": ["long"]}, {"required": ["short"]}],
                    },
                },
            },
        },
    },
}


@pytest.fixture
def definitions(tmp_path: Path) -> Path:
    """A folder with the definitions of Apple, in v1, and of a kind whose v1 is not served any more."""

    def definition(kind: str, schema: dict[str, Any], *, served: bool) -> str:
        version = {"name": "v1", "served": served, "storage": True, "schema": {"openAPIV3Schema": schema}}
        return json.dumps({"spec": {"group": "fruit.example.com", "names": {"kind": kind}, "versions": [version]}})

    folder = tmp_path / "definitions"
    folder.mkdir()
    lines = [definition("Apple", APPLE, served=True), "---", definition("Pear", APPLE, served=False)]
    (folder / "fruit.yaml").write_text("\n".join(lines))
    return folder


def apple(spec: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "apiVersion": "fruit.example.com/v1",
        "kind": "Apple",
        "metadata": {"name": "a", "labels": {"version": "v1"}},
        "spec": spec,
        **more,
    }


def custom_errors(folder: Path, item: dict[str, Any], **more: Any) -> list[str]:
    result = validate([recorded(item, **more)], "1.36", folder)
    assert (result.checked, result.unchecked) == (1, {})
    return [error.path for error in result.errors]


@pytest.mark.parametrize(
    "spec",
    [
        {"size": 1},
        {"size": 1, "port": 80},
        {"size": 1, "port": "http"},
        {"size": 1, "note": None},
        {"size": 1, "note": "ripe"},
        {"size": 1, "free": {"any": {"thing": 1}}},
        {"size": 1, "marks": {"a": "b"}},
        {"size": 1, "empty": {}},
        {"size": 1, "pod": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {"a": 1}}},
        {"size": 1, "worms": [{"long": True}, {"short": False}]},
    ],
    ids=json.dumps,
)
def test_a_custom_object_that_its_definition_allows_passes(definitions: Path, spec: dict[str, Any]) -> None:
    assert custom_errors(definitions, apple(spec)) == []


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({}, "spec"),
        ({"size": 0}, "spec.size"),
        ({"size": "1"}, "spec.size"),
        ({"size": None}, "spec.size"),
        ({"size": 1, "sise": 1}, "spec"),
        ({"size": 1, "port": 1.5}, "spec.port"),
        ({"size": 1, "note": "rotten"}, "spec.note"),
        ({"size": 1, "label": "A1"}, "spec.label"),
        ({"size": 1, "marks": {"a": 1}}, "spec.marks.a"),
        ({"size": 1, "empty": {"a": 1}}, "spec.empty"),
        ({"size": 1, "pod": {"status": 1}}, "spec.pod"),
        ({"size": 1, "worms": [{"long": True, "short": True}]}, "spec.worms[0]"),
        ({"size": 1, "worms": [{"long": True, "wide": True}]}, "spec.worms[0]"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_a_custom_object_that_its_definition_forbids_is_an_error_at_its_place(
    definitions: Path, spec: dict[str, Any], path: str
) -> None:
    assert set(custom_errors(definitions, apple(spec))) == {path}


def test_metadata_of_custom_objects_is_checked_like_any_other(definitions: Path) -> None:
    item = apple({"size": 1})
    item["metadata"]["labels"]["bad key!"] = "x"
    assert custom_errors(definitions, item) == ["metadata.labels"]
    assert custom_errors(definitions, apple({"size": 1}, extra=1)) == [""]


def test_secret_places_of_custom_objects_are_not_judged(definitions: Path) -> None:
    item = apple({"size": 1, "label": SECRET})
    assert custom_errors(definitions, item, secrets={("spec", "label"): "x"}) == []


def test_a_version_that_is_not_served_has_no_schema(definitions: Path) -> None:
    result = validate([recorded(apple({}) | {"kind": "Pear"})], "1.36", definitions)
    assert summary(result) == ["1 x fruit.example.com/v1 Pear: no schema, not checked"]


def test_custom_kinds_are_no_errors_before_their_definitions_are_fetched(tmp_path: Path) -> None:
    result = validate([recorded(apple({})), recorded(DEPLOYMENT)], "1.36", tmp_path / "not there")
    assert (result.errors, result.checked) == ([], 1)
    assert summary(result) == [
        "1 x fruit.example.com/v1 Apple: no schema, not checked",
        "1 object of custom kinds not checked: `cloudmart local definitions` fetches their schemas once",
    ]


@pytest.mark.parametrize(
    ("checked", "unchecked", "said"),
    [
        (3, {}, ""),
        (0, {"a/v1 A": 1}, "1 of 1 object was not checked: no schema of its kind is here"),
        (4, {"a/v1 A": 1}, "1 of 5 objects was not checked: no schema of its kind is here"),
        (4, {"a/v1 A": 2}, "2 of 6 objects were not checked: no schema of their kind is here"),
        (150, {"a/v1 A": 100, "b/v1 B": 31}, "131 of 281 objects were not checked: no schema of their kinds is here"),
    ],
)
def test_how_many_objects_were_not_checked_is_one_sentence(checked: int, unchecked: dict[str, int], said: str) -> None:
    assert gap(SchemaResult([], checked, unchecked)) == said


# --- Gatekeeper's constraints, whose kinds their templates define ---------------------------------------------

MATCH: dict[str, Any] = {"type": "object", "properties": {"scope": {"type": "string"}}}


@pytest.fixture
def gatekeeper(tmp_path: Path) -> Path:
    """A folder with the definition of the kind that says what a constraint may match."""
    spec = {"type": "object", "properties": {"match": MATCH}}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    crd = {"spec": {"group": "mutations.gatekeeper.sh", "names": {"kind": "Assign"}, "versions": [version]}}
    (tmp_path / "gatekeeper.yaml").write_text(json.dumps(crd))
    return tmp_path


def template(kind: str, parameters: dict[str, Any] | None = None) -> Recorded:
    crd: dict[str, Any] = {"names": {"kind": kind}}
    if parameters is not None:
        crd["validation"] = {"openAPIV3Schema": {"type": "object", "properties": parameters}}
    return recorded(
        {
            "apiVersion": "templates.gatekeeper.sh/v1",
            "kind": "ConstraintTemplate",
            "metadata": {"name": kind.lower()},
            "spec": {"crd": {"spec": crd}},
        }
    )


def constraint(kind: str, **spec: Any) -> Recorded:
    metadata = {"name": "shop"}
    return recorded(
        {"apiVersion": "constraints.gatekeeper.sh/v1beta1", "kind": kind, "metadata": metadata, "spec": spec}
    )


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({"parameters": {"most": 3}, "match": {"scope": "*"}, "enforcementAction": "deny"}, None),
        ({"scopedEnforcementActions": [{"action": "deny", "enforcementPoints": [{"name": "audit"}]}]}, None),
        ({"parameters": {"most": "3"}}, "spec.parameters.most"),
        ({"parameters": {"moast": 3}}, "spec.parameters"),
        ({"match": {"scoop": "*"}}, "spec.match"),
        ({"enforcementaction": "deny"}, "spec"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_a_constraint_is_judged_by_the_template_of_its_kind(
    gatekeeper: Path, spec: dict[str, Any], path: str | None
) -> None:
    objects = [constraint("MostReplicas", **spec), template("MostReplicas", {"most": {"type": "integer"}})]
    result = validate(objects, "1.36", gatekeeper)
    assert [error.path for error in result.errors if error.urn == "urn:MostReplicas"] == ([path] if path else [])
    assert "constraints.gatekeeper.sh/v1beta1 MostReplicas" not in result.unchecked


def test_a_template_without_parameters_allows_none(gatekeeper: Path) -> None:
    objects = [template("Plain"), constraint("Plain", parameters={})]
    (error,) = validate(objects, "1.36", gatekeeper).errors
    assert (error.urn, error.path) == ("urn:Plain", "spec")


def test_a_constraint_without_a_template_that_can_be_read_is_listed_as_not_checked(gatekeeper: Path) -> None:
    broken = recorded({"apiVersion": "templates.gatekeeper.sh/v1", "kind": "ConstraintTemplate", "spec": []})
    result = validate([broken, constraint("Lost")], "1.36", gatekeeper)
    assert "constraints.gatekeeper.sh/v1beta1 Lost" in result.unchecked
