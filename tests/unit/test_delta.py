"""The delta: what becomes of each resource, what forces a replacement, and that the parts add up."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudmart.errors import UserError
from cloudmart.finops import prices
from cloudmart.finops.budget import State, standings
from cloudmart.finops.delta import Change, Delta, Op, compare
from cloudmart.finops.estimate import Range, estimate
from cloudmart.preview import delta_report, stored
from cloudmart.preview.recorder import SECRET, UNKNOWN, Recorded
from cloudmart.settings.prices import Budget
from tests.unit.test_estimate import CPU, claim, container, deployment, recorded, scaler, template


def delta(before: Sequence[Recorded], after: Sequence[Recorded]) -> Delta:
    book = prices.load()
    return compare("then", before, after, (estimate(before, book), estimate(after, book)))


def web(cpu: str = "1", replicas: int = 1, code: str = "") -> Recorded:
    labels = {"app": "web"} | ({"cost-center": code} if code else {})
    made = deployment("web", template(container(cpu), labels=labels), replicas)
    return replace(made, type="kubernetes:apps/v1:Deployment", inputs={**made.inputs, "apiVersion": "apps/v1"})


def typed(kind: str, token: str, **inputs: Any) -> Recorded:
    made = recorded(kind, "thing", inputs)
    return replace(made, type=f"kubernetes:{token}:{kind}")


def edited(resource: Recorded, path: str, value: Any) -> Recorded:
    inputs = copy.deepcopy(resource.inputs)
    *steps, last = path.split(".")
    holder: Any = inputs
    for step in steps:
        holder = holder[int(step)] if step.isdigit() else holder.setdefault(step, {})
    holder[last] = value
    return replace(resource, inputs=inputs)


def only(found: Delta) -> Change:
    (change,) = found.changes
    return change


def test_the_same_resources_are_no_change() -> None:
    found = delta([web(), scaler("web", 1, 3)], [web(), scaler("web", 1, 3)])
    assert (found.changes, found.monthly) == ((), Range())


def test_creates_updates_and_deletes_have_each_their_cost() -> None:
    gone = deployment("old", template(container("2")))
    new = deployment("new", template(container("4")))
    found = delta([web("1"), gone], [web("1500m"), new])
    assert [(c.op, c.name, c.monthly) for c in found.changes] == [
        (Op.CREATE, "new", Range.exactly(4 * CPU)),
        (Op.DELETE, "old", Range.exactly(-2 * CPU)),
        (Op.UPDATE, "web", Range.exactly(CPU / 2)),
    ]
    (one,) = found.changes[2].properties
    assert (one.path, one.before, one.after) == (
        "spec.template.spec.containers[name=c].resources.requests.cpu",
        "1",
        "1500m",
    )
    assert found.monthly == Range.exactly(Decimal("2.5") * CPU)


@pytest.mark.parametrize(
    ("resource", "path", "value"),
    [
        (typed("StatefulSet", "apps/v1", spec={"volumeClaimTemplates": [claim("1Gi")]}),
         "spec.volumeClaimTemplates.0.spec.resources.requests.storage", "2Gi"),
        (typed("StatefulSet", "apps/v1", spec={"serviceName": "a"}), "spec.serviceName", "b"),
        (typed("Deployment", "apps/v1", spec={"selector": {"matchLabels": {"app": "a"}}}),
         "spec.selector.matchLabels.app", "b"),
        (typed("Service", "core/v1", spec={"clusterIP": "10.0.0.1"}), "spec.clusterIP", "None"),
        (typed("PersistentVolumeClaim", "core/v1", spec={"storageClassName": "a"}), "spec.storageClassName", "b"),
        (typed("RoleBinding", "rbac.authorization.k8s.io/v1", roleRef={"name": "a"}), "roleRef.name", "b"),
        (typed("Job", "batch/v1", spec={"template": {}}), "spec.template.x", 1),
        (typed("Pod", "core/v1", spec={"containers": [{"image": "a"}]}), "spec.containers.0.image", "b"),
        (typed("ConfigMap", "core/v1", data={"a": "1"}), "data.a", "2"),
        (typed("Namespace", "core/v1"), "metadata.name", "b"),
        (Recorded("u", "random:index/randomPassword:RandomPassword", "p", {"length": 8}, "", True), "length", 9),
    ],
)  # fmt: skip
def test_what_cannot_be_changed_in_place_is_a_replace_that_names_the_property(
    resource: Recorded, path: str, value: Any
) -> None:
    change = only(delta([resource], [edited(resource, path, value)]))
    assert change.op is Op.REPLACE
    assert change.forced_by[0].replace("]", "").replace("[", ".") == path


@pytest.mark.parametrize(
    ("resource", "path", "value"),
    [
        (typed("StatefulSet", "apps/v1", spec={"replicas": 1}), "spec.replicas", 2),
        (typed("StatefulSet", "apps/v1", spec={"template": {"spec": {}}}), "spec.template.spec.x", "y"),
        (typed("PersistentVolumeClaim", "core/v1", **claim("1Gi")), "spec.resources.requests.storage", "2Gi"),
        (typed("Service", "core/v1", spec={"type": "ClusterIP"}), "spec.type", "LoadBalancer"),
        (typed("Deployment", "example.com/v1", spec={"selector": "a"}), "spec.selector", "b"),
    ],
)
def test_what_can_be_changed_in_place_is_an_update(resource: Recorded, path: str, value: Any) -> None:
    assert only(delta([resource], [edited(resource, path, value)])).op is Op.UPDATE


@pytest.mark.parametrize(
    ("resource", "path", "value", "said"),
    [
        (typed("StatefulSet", "apps/v1", spec={"serviceName": "a"}), "spec.serviceName", "b", "its pods stop"),
        (typed("Service", "core/v1", spec={"clusterIP": "10.0.0.1"}), "spec.clusterIP", "None", "nothing answers"),
        (typed("PersistentVolumeClaim", "core/v1", spec={"storageClassName": "a"}), "spec.storageClassName", "b",
         "its data goes with it"),
        (typed("Cluster", "postgresql.cnpg.io/v1"), "metadata.name", "b", "the operator deletes"),
        (Recorded("u", "random:index/randomPassword:RandomPassword", "p", {"length": 8}, "", True), "length", 9,
         "the old value"),
    ],
)  # fmt: skip
def test_a_replacement_that_takes_data_or_a_service_away_is_told_in_the_summary_with_its_cause(
    resource: Recorded, path: str, value: Any, said: str
) -> None:
    (line,) = delta_report.cautions(delta([resource], [edited(resource, path, value)]))
    assert f"is replaced, forced by {path}: " in line
    assert said in line
    assert line in delta_report.summary(delta([resource], [edited(resource, path, value)]), ())
    is_data = resource.type.rpartition(":")[2] not in ("Service", "RandomPassword")
    assert len(delta_report.cautions(delta([resource], []))) == is_data


def test_what_changes_in_place_or_holds_nothing_needs_no_caution() -> None:
    grown = typed("StatefulSet", "apps/v1", spec={"replicas": 1})
    assert delta_report.cautions(delta([grown], [edited(grown, "spec.replicas", 2)])) == []
    role = typed("RoleBinding", "rbac.authorization.k8s.io/v1", roleRef={"name": "a"})
    assert delta_report.cautions(delta([role], [edited(role, "roleRef.name", "b")])) == []


def test_config_maps_change_in_place_where_the_programs_provider_says_so() -> None:
    provider = Recorded("p", "pulumi:providers:kubernetes", "p", {"enableConfigMapMutable": "true"}, "", True)
    before, after = (typed("ConfigMap", "core/v1", data={"a": value}) for value in "12")
    assert only(delta([provider, before], [provider, after])).op is Op.UPDATE
    frozen = [replace(r, inputs={**r.inputs, "immutable": True}) for r in (before, after)]
    assert only(delta([provider, frozen[0]], [provider, frozen[1]])).op is Op.REPLACE


def test_a_changed_maximum_is_paid_for_by_the_autoscaler_that_has_it() -> None:
    change = only(delta([web(), scaler("web", 1, 3)], [web(), scaler("web", 1, 7)]))
    assert (change.op, change.kind, change.monthly) == (
        Op.UPDATE,
        "HorizontalPodAutoscaler",
        Range(Decimal(0), Decimal(0), 4 * CPU),
    )


def test_a_deployment_that_only_has_a_new_label_does_not_take_its_autoscalers_cost() -> None:
    labelled = edited(web(), "metadata.labels.x", "y")
    found = delta([web(), scaler("web", 1, 3)], [labelled, scaler("web", 1, 7)])
    assert {c.kind: c.monthly.max for c in found.changes} == {
        "Deployment": Decimal(0),
        "HorizontalPodAutoscaler": 4 * CPU,
    }


def test_what_is_only_repriced_is_listed_as_the_same_with_its_difference() -> None:
    before, after = [web("2")], [web("2")]
    dear = prices.load().model_copy(update={"region_multiplier": Decimal(2)})
    found = compare("then", before, after, (estimate(before, prices.load()), estimate(after, dear)))
    assert (only(found).op, only(found).monthly) == (Op.SAME, Range.exactly(2 * CPU))


def test_ignored_properties_are_no_change_but_keep_their_cost() -> None:
    ignoring = [replace(web("1", count), ignore_changes=("spec.replicas",)) for count in (1, 3)]
    change = only(delta(ignoring[:1], ignoring[1:]))
    assert (change.op, change.monthly) == (Op.SAME, Range.exactly(2 * CPU))


def test_a_renamed_resource_with_an_alias_is_the_same_one() -> None:
    renamed = replace(web("2"), urn="urn:new", aliases=("", web().urn))
    change = only(delta([web("1")], [renamed]))
    assert (change.op, change.monthly) == (Op.UPDATE, Range.exactly(CPU))


def test_secrets_and_unknown_values_are_no_change_and_are_never_shown() -> None:
    before = typed("Secret", "core/v1", data={"a": SECRET, "b": SECRET}, spec={"ip": "10.0.0.1"})
    after = typed("Secret", "core/v1", data=SECRET, spec={"ip": UNKNOWN})
    assert delta([before], [after]).changes == ()
    opened = only(delta([before], [edited(before, "data.a", "plain")]))
    assert [(p.before, p.after) for p in opened.properties] == [(SECRET, "plain")]


def test_a_moved_cost_center_takes_the_cost_from_one_to_the_other() -> None:
    before, after = web("1", code="CC-1"), web("1", code="CC-2")
    found = delta([before], [after])
    assert found.monthly == Range()
    assert only(found).by_cost_center == {"CC-1": Range.exactly(-CPU), "CC-2": Range.exactly(CPU)}
    assert found.causes()["CC-2"] == [("update Deployment web", Range.exactly(CPU))]


def listed(key: str, before: list[Any], after: list[Any]) -> list[tuple[str, str | None, str | None]]:
    """What is said to differ between two objects with these lists."""
    sides = [typed("Deployment", "apps/v1", spec={key: items}) for items in (before, after)]
    return [
        (one.path, one.before, one.after)
        for change in delta(*([s] for s in sides)).changes
        for one in change.properties
    ]


def variables(*names: str) -> list[Any]:
    return [{"name": name, "value": f"of {name}"} for name in names]


PASSWORD = {"name": "REDIS_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "redis", "key": "password"}}}


def test_a_variable_that_is_put_before_a_secret_is_one_addition_and_does_not_seem_to_replace_it() -> None:
    before = [*variables("KAFKA_BROKERS"), PASSWORD]
    after = [*variables("KAFKA_BROKERS", "USER_SERVICE_URL"), PASSWORD]
    assert listed("env", before, after) == [
        ("spec.env[name=USER_SERVICE_URL]", None, '{"name": "USER_SERVICE_URL", "value": "of USER_SERVICE_URL"}')
    ]


def test_an_item_that_goes_is_one_removal_whatever_stands_after_it() -> None:
    before, after = [*variables("A", "B"), PASSWORD], [*variables("B"), PASSWORD]
    assert listed("env", before, after) == [("spec.env[name=A]", '{"name": "A", "value": "of A"}', None)]
    assert [path for path, _, _ in listed("env", variables("A", "B"), [])] == ["spec.env[name=A]", "spec.env[name=B]"]


def test_a_changed_item_is_named_in_the_path_of_what_changed_in_it() -> None:
    after = [{"name": "new"}, {"name": "A", "value": "other"}]
    assert listed("env", variables("A"), after)[0] == ("spec.env[name=A].value", "of A", "other")


def test_another_order_of_the_same_items_is_a_change_that_shows_what_moved() -> None:
    before, after = variables("A", "B", "C", "D", "E"), variables("A", "D", "B", "C", "E")
    assert listed("env", before, after) == [("spec.env", "order B, C, D", "order D, B, C")]
    assert listed("env", before, before) == []
    # What is new or gone moves nothing.
    assert [path for path, _, _ in listed("env", variables("A", "B", "C"), variables("A", "X", "C"))] == [
        "spec.env[name=B]",
        "spec.env[name=X]",
    ]


@pytest.mark.parametrize(
    ("key", "items", "path"),
    [
        ("volumeMounts", [{"name": "tmp", "mountPath": "/a"}, {"name": "tmp", "mountPath": "/b"}], "[mountPath=/b]"),
        ("ports", [{"name": "http", "containerPort": 80}, {"name": "metrics", "containerPort": 81}], "[name=metrics]"),
        ("ports", [{"containerPort": 80}, {"containerPort": 81}], "[containerPort=81]"),
    ],
)
def test_mounts_are_known_by_their_path_and_ports_by_name_or_number(key: str, items: list[Any], path: str) -> None:
    assert [found for found, _, _ in listed(key, items[1:], [items[0], {**items[1], "x": 1}])] == [
        f"spec.{key}{path}.x",
        f"spec.{key}{path.replace('81', '80').replace('/b', '/a').replace('metrics', 'http')}",
    ]


@pytest.mark.parametrize(
    "items",
    [
        [{"to": "a"}, {"to": "b"}],
        [{"name": "A", "to": "a"}, {"name": "A", "to": "b"}],
        [{"name": "A", "to": "a"}, {"to": "b"}],
        [{"name": "A", "to": "a"}, {"name": UNKNOWN, "to": "b"}],
        [{"containerPort": 53, "protocol": "TCP", "to": "a"}, {"containerPort": 53, "protocol": "UDP", "to": "b"}],
        [{"port": 80, "to": "a"}, {"port": 81, "to": "b"}],
        [{"name": "A", "to": "a"}, "text"],
    ],
    ids=[
        "no name",
        "the same name twice",
        "one without a name",
        "an unknown name",
        "a port twice",
        "a port of a rule",
        "no mapping",
    ],
)
def test_items_that_nothing_tells_apart_are_compared_by_their_place(items: list[Any]) -> None:
    after = [{**items[0], "to": "other"}, *items[1:]]
    assert listed("rules", items, after) == [("spec.rules[0].to", "a", "other")]
    # Both sides have to tell them apart.
    assert listed("rules", items[:1], after)[0] == ("spec.rules[0].to", "a", "other")


def test_a_name_with_anything_in_it_stays_in_its_path() -> None:
    (found,) = listed("env", variables("A"), variables("A", "B]\n\x1b[31m.image"))
    assert found[0] == r'spec.env[name="B]\n\u001b[31m.image"]'


def test_what_is_ignored_by_its_place_in_a_list_stays_ignored_where_items_have_names() -> None:
    images = [[{"name": "app", "image": image}] for image in "ab"]
    ignored = ("spec.containers[0].image",)
    sides = [replace(typed("Pod", "core/v1", spec={"containers": one}), ignore_changes=ignored) for one in images]
    assert delta(sides[:1], sides[1:]).changes == ()


stacks_ = st.lists(
    st.tuples(
        st.sampled_from("abcdef"),
        st.integers(1, 40),
        st.integers(0, 5),
        st.sampled_from(["CC-1", "CC-2"]),
        st.booleans(),
    ),
    max_size=6,
    unique_by=lambda entry: entry[0],
)


def resources(entries: list[tuple[str, int, int, str, bool]]) -> list[Recorded]:
    found = []
    for name, cpu, replicas, code, scaled in entries:
        found.append(deployment(name, template(container(f"{cpu}m"), labels={"cost-center": code}), replicas))
        found += [scaler(name, 1, replicas + 2)] if scaled else []
    return found


@settings(deadline=None, max_examples=150, derandomize=True, database=None)
@given(before=stacks_, after=stacks_)
def test_the_parts_of_any_change_add_up_to_the_difference_in_all_and_by_cost_center(
    before: list[tuple[str, int, int, str, bool]], after: list[tuple[str, int, int, str, bool]]
) -> None:
    found = delta(resources(before), resources(after))
    assert sum((change.monthly for change in found.changes), Range()) == found.monthly
    for code in ("CC-1", "CC-2"):
        parts = sum((change.by_cost_center.get(code, Range()) for change in found.changes), Range())
        was, now = (side.by_cost_center.get(code, Range()) for side in (found.before, found.after))
        assert parts == now - was
    names = {entry[0] for entry in before}, {entry[0] for entry in after}
    assert {c.name for c in found.changes if c.op is Op.CREATE and c.kind == "Deployment"} == names[1] - names[0]
    assert {c.name for c in found.changes if c.op is Op.DELETE and c.kind == "Deployment"} == names[0] - names[1]


# --- budgets ----------------------------------------------------------------------------------------------------------


def test_a_budget_warns_at_its_threshold_and_is_over_above_its_amount() -> None:
    paid = estimate([web("1", code="CC-1")], prices.load())  # 23.07603
    cent = Decimal("0.01")
    for monthly, state in ((CPU, State.WARNING), (CPU - cent, State.OVER), (CPU * 2, State.WITHIN)):
        (one,) = standings(paid, {"CC-1": Budget(monthly=monthly, warn_at=80)})
        assert one.state is state, monthly
    (edge,) = standings(paid, {"CC-1": Budget(monthly=CPU / Decimal("0.8"), warn_at=80)})
    assert edge.state is State.WARNING


def test_a_budget_says_by_how_much_and_what_costs_most() -> None:
    (one,) = standings(estimate([web("2"), scaler("web", 1, 3)], prices.load()), {"stack": Budget(monthly=Decimal(40))})
    assert one.sentence() == (
        "46.15 USD a month expected, which is 6.15 (15.4 %) over the budget of 40.00; most of it: web 46.15"
    )
    (most,) = standings(
        estimate([web("2"), scaler("web", 1, 3)], prices.load()),
        {"stack": Budget.model_validate({"monthly": 40, "basis": "max"})},
    )
    assert most.sentence().startswith("138.46 USD a month at most, which is 98.46")


def test_with_a_change_the_budget_says_which_change_did_it() -> None:
    found = delta([web("1")], [web("2"), deployment("new", template(container("500m")))])
    (one,) = standings(found.after, {"stack": Budget(monthly=Decimal(40))}, found.before, found.causes())
    assert one.sentence() == (
        "57.69 USD a month expected, which is 17.69 (44.2 %) over the budget of 40.00; +34.61 by this change: "
        "update Deployment web +23.08, create Deployment new +11.54"
    )


# --- state and plan ---------------------------------------------------------------------------------------------------

_SIG = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", "ciphertext": "v1:abc"}


def urn(kind: str, name: str, stack: str = "dev") -> str:
    return f"urn:pulumi:{stack}::shop::{kind}::{name}"


def state(*resources: dict[str, Any]) -> dict[str, Any]:
    return {"version": 3, "deployment": {"resources": list(resources)}}


def in_state(resource: Recorded, **more: Any) -> dict[str, Any]:
    return {"urn": resource.urn, "type": resource.type, "custom": True, "inputs": resource.inputs, **more}


def named(resource: Recorded) -> Recorded:
    return replace(resource, urn=urn(resource.type, resource.name))


def test_a_state_is_the_same_as_the_recording_that_made_it() -> None:
    pod = template(container("1"))
    pod["metadata"]["annotations"] = {"checksum/credentials": "1", "checksum/config": "a"}
    made = named(replace(deployment("web", pod), type="kubernetes:apps/v1:Deployment"))
    secret = named(typed("Secret", "core/v1", stringData={"a": SECRET}))
    other = copy.deepcopy(made.inputs)
    other["spec"]["template"]["metadata"]["annotations"]["checksum/credentials"] = "2"
    kept = state(
        in_state(replace(made, inputs=other)),
        in_state(secret, inputs={k: v for k, v in secret.inputs.items() if k != "stringData"} | {"data": _SIG}),
    )
    found = stored.from_state(kept, "dev", "state.json")
    before = estimate(found, prices.load())
    now = stored.comparable([made, secret])
    assert compare("state", found, now, (before, estimate(now, prices.load()))).changes == ()


def test_what_waits_to_be_deleted_in_a_state_costs_nothing() -> None:
    one = named(web())
    found = stored.from_state(state(in_state(one), in_state(one, delete=True)), "dev", "state.json")
    assert len(found) == 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, r"state.json: found no deployment; allowed: what `pulumi stack export` prints"),
        ({"deployment": {"resources": 3}}, r"found no deployment"),
        (
            state({"urn": urn("t", "n", "prod"), "type": "t"}),
            r"found a resource of stack 'prod'; allowed: those of 'dev'",
        ),
    ],
)
def test_what_is_no_state_of_this_stack_is_an_error_that_names_the_file(data: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        stored.from_state(data, "dev", "state.json")


def step(op: str, old: Recorded | None, new: Recorded | None, **more: Any) -> dict[str, Any]:
    made = {"op": op, "urn": (new or old).urn, **more}  # type: ignore[union-attr]
    return made | {
        key: in_state(resource) for key, resource in (("oldState", old), ("newState", new)) if resource is not None
    }


def test_a_plan_is_completed_by_the_recording_and_believed_in_its_operations() -> None:
    kept, new = named(deployment("kept", template(container("3")))), named(deployment("new", template(container("2"))))
    old_web, new_web = named(web("1")), named(web("4"))
    gone = named(deployment("gone", template(container("1"))))
    data = {
        "steps": [
            {"op": "same", "urn": urn("pulumi:pulumi:Stack", "dev")},
            step("create", None, new),
            step("delete", gone, None),
            step("create-replacement", old_web, new_web, replaceReasons=["spec.selector"]),
            step("replace", old_web, new_web, replaceReasons=["spec.selector"]),
            step("delete-replaced", old_web, None),
        ]
    }
    plan = stored.from_plan(data, [kept, new, new_web], "dev", "plan.json")
    sides = (estimate(plan.before, prices.load()), estimate(plan.after, prices.load()))
    found = compare("plan", plan.before, plan.after, sides, verdicts=plan.verdicts)
    assert {(c.name, c.op, c.monthly.expected, c.forced_by) for c in found.changes} == {
        ("web", Op.REPLACE, 3 * CPU, ("spec.selector",)),
        ("new", Op.CREATE, 2 * CPU, ()),
        ("gone", Op.DELETE, -CPU, ()),
    }
    assert (found.before.monthly.expected, found.after.monthly.expected) == (5 * CPU, 9 * CPU)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, r"plan.json: found no steps; allowed: what `pulumi preview --json` prints"),
        (
            {"steps": [], "diagnostics": [{"severity": "error", "message": "error: it broke\n"}]},
            r"found a plan that failed \(it broke\)",
        ),
        ({"steps": [step("create", None, replace(web(), urn=urn("t", "n", "prod")))]}, r"of stack 'prod'"),
    ],
)
def test_what_is_no_plan_of_this_stack_or_failed_is_an_error(data: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        stored.from_plan(data, [], "dev", "plan.json")
