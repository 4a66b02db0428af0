"""What a change of the program may not do by the way: lose sight of what holds data."""

from __future__ import annotations

import pytest

from tests.stack.objects import Stack

#: What Pulumi knows the data by, of each stack, less what all have in common. One that changes, because a component, a
#: type or a name has another name or place, is deleted and made anew, unless the resource is given its old one as an
#: alias (docs/safe-change.md). Then it stays in this list.
DATA = {
    "dev": {
        "namespace:GuardedNamespace$kubernetes:core/v1:Namespace::cloudmart",
        "data:DataLayer$cloudmart:data:Postgres$random:index/randomPassword:RandomPassword::postgres-password",
        "data:DataLayer$cloudmart:data:Postgres$kubernetes:apps/v1:StatefulSet::postgres",
        "data:DataLayer$cloudmart:data:Redis$random:index/randomPassword:RandomPassword::redis-password",
        "data:DataLayer$cloudmart:data:Redis$kubernetes:apps/v1:StatefulSet::redis",
        "data:DataLayer$cloudmart:data:Kafka$random:index/randomPassword:RandomPassword::kafka-password",
        "data:DataLayer$cloudmart:data:Kafka$kubernetes:apps/v1:StatefulSet::kafka",
    },
    "prod": {
        "namespace:GuardedNamespace$kubernetes:core/v1:Namespace::cloudmart",
        "data:DataLayer$cloudmart:data:Postgres$random:index/randomPassword:RandomPassword::postgres-password",
        "data:DataLayer$cloudmart:data:Postgres$kubernetes:postgresql.cnpg.io/v1:Cluster::postgres",
        "data:DataLayer$cloudmart:data:Redis$random:index/randomPassword:RandomPassword::redis-password",
        "data:DataLayer$cloudmart:data:Redis$kubernetes:helm.sh/v3:Release::redis",
        "data:DataLayer$cloudmart:data:Kafka$kubernetes:kafka.strimzi.io/v1:KafkaNodePool::broker",
        "data:DataLayer$cloudmart:data:Kafka$kubernetes:kafka.strimzi.io/v1:Kafka::kafka",
        "data:DataLayer$cloudmart:data:Kafka$kubernetes:kafka.strimzi.io/v1:KafkaTopic::orders",
    },
}


def test_pulumi_still_knows_all_data_by_the_name_it_was_made_under(stack: Stack) -> None:
    name = stack.settings.stack
    if name not in DATA:
        pytest.skip("a stack that was added since")
    prefix = f"urn:pulumi:{name}::cloudmart::cloudmart:platform:Platform$cloudmart:"
    known = {urn for found in stack.recording.resources for urn in (found.urn, *found.aliases)}
    assert {urn for urn in DATA[name] if prefix + urn not in known} == set()
