"""No secret value stands where it can be read."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from urllib.parse import quote

import pytest

from cloudmart.preview.recorder import SECRET, path_text
from cloudmart.preview.render import manifests, render
from tests.stack.objects import Stack


def _forms(value: str) -> list[str]:
    """A value as it is, and as files and URLs may hold it; base64 at each of the three offsets."""
    encoded = [base64.b64encode(b"x" * shift + value.encode()).decode()[4:-4] for shift in range(3)]
    return [value, quote(value, safe=""), *encoded]


def _passwords(stack: Stack) -> list[str]:
    found = [sentinel for sentinel, generated in stack.recording.generated.items() if generated.property == "result"]
    assert len(found) >= 4  # one a store, and PostgreSQL's superuser
    return found


def test_no_generated_value_stands_in_any_input_or_output(stack: Stack) -> None:
    recording = stack.recording
    text = json.dumps([[r.urn, r.inputs] for r in recording.resources] + [recording.outputs])
    held = [form for password in _passwords(stack) for form in _forms(password) if form in text]
    assert held == []


def test_nothing_leaks(stack: Stack) -> None:
    leaks = {r.urn: [path_text(path) for path in r.leaks] for r in stack.recording.resources if r.leaks}
    assert leaks == {}
    assert stack.recording.output_leaks == ()


def test_secrets_reach_nothing_but_secret_objects(stack: Stack) -> None:
    holders = {r.kind or r.type for r in stack.recording.resources if r.secrets}
    assert holders == {"Secret"}
    for name, found in stack.of("Secret").items():
        assert set(found["stringData"].values()) == {SECRET}, name


def test_every_generated_password_arrives_in_a_secret(stack: Stack) -> None:
    # Otherwise the tests above would hold for a stack without any password.
    texts = {
        manifest.recorded.kind: json.dumps(manifest.object)
        for manifest in manifests(stack.recording, templates=True)
        if manifest.recorded.secrets
    }
    assert set(texts) == {"Secret"}
    everything = "".join(json.dumps(m.object) for m in manifests(stack.recording, templates=True))
    assert [password for password in _passwords(stack) if password not in everything] == []


def test_rendered_files_hold_no_secret_object(stack: Stack, tmp_path: Path) -> None:
    result = render(stack.recording, tmp_path)
    text = "".join((tmp_path / name).read_text() for name in result.files)
    assert "kind: Secret" not in text
    assert [form for password in _passwords(stack) for form in _forms(password) if form in text] == []
    assert sum(line.startswith("Secret ") for line in result.left_out) == len(
        [found for found in stack.objects if found.kind == "Secret"]
    )


@pytest.mark.parametrize("word", ["PASSWORD", "TOKEN", "SECRET", "PASS", "AUTH"])
def test_no_environment_variable_with_such_a_name_has_a_literal_value(stack: Stack, word: str) -> None:
    literal = [
        f"{pod.workload}: {variable['name']}"
        for pod in stack.pods()
        for container in pod.containers
        for variable in container.get("env", [])
        if word in variable["name"].split("_") and variable.get("value")
    ]
    assert literal == []
