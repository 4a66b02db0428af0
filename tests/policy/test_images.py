"""Rules on images."""

from __future__ import annotations

import pytest

from tests.policy.objects import POD_KINDS, broken, pod_spec, workload

IMAGE = "spec.template.spec.containers.0.image"
DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize("kind", POD_KINDS)
def test_a_moving_tag_is_found_in_every_kind_of_workload(kind: str) -> None:
    assert broken("image-pinned", workload(kind)) == []
    [message] = broken("image-pinned", workload(kind).with_(f"{pod_spec(kind)}.containers.0.image", "nginx:latest"))
    assert "image 'nginx:latest' has the moving tag 'latest'" in message


@pytest.mark.parametrize("image", ["nginx", "localhost:5000/nginx", "registry.example.com:5000/team/app"])
def test_an_image_without_a_tag_is_found(image: str) -> None:
    [message] = broken("image-pinned", workload().with_(IMAGE, image))
    assert "has no tag" in message


@pytest.mark.parametrize("image", ["nginx:1.30", f"nginx@{DIGEST}", f"nginx:latest@{DIGEST}", "localhost:5000/app:v1"])
def test_a_version_or_a_digest_pins_an_image(image: str) -> None:
    assert broken("image-pinned", workload().with_(IMAGE, image)) == []


def test_a_digest_is_required_where_the_configuration_says_so() -> None:
    for pattern in ("*", "docker.io/nginxinc/*"):
        [message] = broken("image-pinned", workload(), digestRequired=[pattern])
        assert "has no digest" in message
    assert broken("image-pinned", workload(), digestRequired=["docker.io/library/*"]) == []
    assert broken("image-pinned", workload().with_(IMAGE, f"nginx@{DIGEST}"), digestRequired=["*"]) == []


def test_moving_tags_are_configurable() -> None:
    found = workload().with_(IMAGE, "nginx:canary")
    assert broken("image-pinned", found) == []
    assert len(broken("image-pinned", found, forbiddenTags=["canary"])) == 1


def test_a_missing_image_is_found() -> None:
    [message] = broken("image-pinned", workload().without(IMAGE))
    assert "no image" in message


@pytest.mark.parametrize("rule", ["image-pinned", "image-registries"])
def test_an_image_that_preview_cannot_know_is_no_violation(rule: str) -> None:
    assert broken(rule, workload().unknown(IMAGE)) == []


@pytest.mark.parametrize(
    ("image", "allowed", "passes"),
    [
        ("nginx:1", ["docker.io"], True),
        ("nginx:1", ["docker.io/library"], True),
        ("nginx:1", ["docker.io/lib"], False),
        ("team/app:1", ["docker.io/team/"], True),
        ("ghcr.io/team/app:1", ["docker.io"], False),
        ("ghcr.io/team/app:1", ["ghcr.io/team/app"], True),
        ("ghcr.io.example.com/app:1", ["ghcr.io"], False),
        ("localhost:5000/app:1", ["localhost:5000"], True),
        (f"ghcr.io/team/app@{DIGEST}", ["ghcr.io/team"], True),
        ("nginx:1", [], False),
    ],
)
def test_an_image_comes_from_an_allowed_registry(image: str, allowed: list[str], passes: bool) -> None:
    messages = broken("image-registries", workload().with_(IMAGE, image), allowed=allowed)
    assert (messages == []) == passes


def test_an_init_container_has_an_image_too() -> None:
    found = workload().with_("spec.template.spec.initContainers", [{"name": "init", "image": "evil.example.com/x"}])
    [message] = broken("image-registries", found)
    assert "init container 'init': image 'evil.example.com/x' comes from 'evil.example.com/x'" in message
    assert len(broken("image-pinned", found)) == 1


def test_a_workload_without_an_image_has_no_registry() -> None:
    assert broken("image-registries", workload().without(IMAGE)) == []
