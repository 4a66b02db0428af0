"""A new password restarts whatever reads it, and nothing else: in every stack."""

from __future__ import annotations

import hashlib
import json

import pytest

from cloudmart.preview.recorder import Recorded, record
from cloudmart.secrets.inventory import Source, inventory
from cloudmart.settings import GATEWAY
from tests.conftest import ROOT
from tests.stack.objects import Stack


def _label(found: Recorded) -> str:
    name = found.object_name or found.inputs.get("name")
    return f"{found.kind or found.type.rsplit(':', 1)[-1]} {found.namespace}/{name}"


def test_the_settings_know_every_password_that_the_program_generates(stack: Stack) -> None:
    made = {found.name for found in stack.recording.resources if found.type.endswith(":RandomPassword")}
    assert made
    assert set(stack.settings.passwords) == made
    assert made <= stack.settings.possible_passwords


def test_exactly_the_readers_of_a_password_change_with_it(stack: Stack) -> None:
    for one in inventory(stack.recording, stack.settings):
        if one.source is not Source.GENERATED:
            continue
        digest = hashlib.sha256(one.sentinel.encode()).hexdigest()
        change = {_label(found) for found in stack.recording.resources if digest in json.dumps(found.inputs)}
        assert change == {reader.label for reader in one.consumers if reader.follows}, one.name
        assert [reader.label for reader in one.consumers if reader.pods and not reader.follows] == [], one.name
        assert one.consumers, one.name


def test_services_that_read_a_stores_password_are_its_declared_callers(stack: Stack) -> None:
    found = inventory(stack.recording, stack.settings)
    for store in stack.settings.stores:
        readers = {
            reader.label.rpartition("/")[2]
            for one in found
            if stack.settings.passwords.get(one.name) == store
            for reader in one.consumers
            if reader.label.startswith("Deployment ")
        }
        assert readers == {caller for caller in stack.settings.callers_of(store) if caller != GATEWAY}, store


def test_nothing_waits_for_a_password_without_waiting_for_the_secret_that_holds_it(stack: Stack) -> None:
    # Else pods would start with the old one, and keep it.
    for one in inventory(stack.recording, stack.settings):
        if one.source is not Source.GENERATED:
            continue
        (holder,) = [
            r
            for r in stack.recording.resources
            if r.kind == "Secret" and f"{r.namespace}/{r.object_name}" == one.secret
        ]
        for reader in one.consumers:
            (found,) = [r for r in stack.recording.resources if r.custom and r.namespace and _label(r) == reader.label]
            assert not (reader.pods and reader.follows) or holder.urn in found.dependencies, (one.name, reader.label)


def test_an_operator_takes_up_a_new_password_at_once(stack: Stack) -> None:
    """CloudNativePG watches Secrets that say so; Strimzi watches its own objects, and Secrets every two minutes."""
    for one in inventory(stack.recording, stack.settings):
        kinds = {reader.label.partition(" ")[0]: reader.follows for reader in one.consumers}
        assert kinds.get("KafkaUser", True), one.name
        if one.source is Source.GENERATED and kinds.keys() & {"Cluster", "DatabaseRole"}:
            (labels,) = [
                found.metadata["labels"]
                for found in stack.objects
                if found.kind == "Secret" and f"{found.namespace}/{found.object_name}" == one.secret
            ]
            assert labels["cnpg.io/reload"] == "true", one.name


@pytest.mark.parametrize("stack", ["dev"], indirect=True, scope="session")
def test_a_rotation_changes_the_password_its_secret_and_their_readers_alone(stack: Stack) -> None:
    name = "redis-password"
    assert name in stack.settings.passwords
    rotated = record(stack.settings.stack, ROOT, overrides={"cloudmart:secrets": {"rotations": {name: 1}}})
    before = {found.urn: found for found in stack.recording.resources}
    changed = {
        found.name
        for found in rotated.resources
        if (found.inputs, found.secrets) != (before[found.urn].inputs, before[found.urn].secrets)
    }
    assert set(before) == {found.urn for found in rotated.resources}
    assert changed == {name, "redis-credentials", "redis", "product-service"}
