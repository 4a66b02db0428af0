"""The evaluator of NetworkPolicies gives, for every example of the Kubernetes documentation, the documented verdict.

The examples and the sentences in quotes are those of the page "Network Policies" of the Kubernetes documentation
(https://kubernetes.io/docs/concepts/services-networking/network-policies/, The Kubernetes Authors, CC BY 4.0).
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml

from tests.evaluators.network import Network, Peer, Pod, matches

#: A world for the examples: each pod in a namespace; namespaces have labels of their own.
WORLD = """
{kind: Namespace, metadata: {name: default}}
---
{kind: Namespace, metadata: {name: mine, labels: {project: myproject}}}
---
{kind: Namespace, metadata: {name: alices, labels: {user: alice}}}
---
{kind: Namespace, metadata: {name: frontend, labels: {namespace: frontend}}}
---
{kind: Namespace, metadata: {name: backend, labels: {namespace: backend}}}
"""
DB = Pod("db", "default", {"role": "db"})
FRONTEND = Pod("frontend", "default", {"role": "frontend"})
OTHER = Pod("other", "default", {"role": "other"})
CLIENT = Pod("client", "default", {"role": "client"})
MINE = Pod("mine", "mine", {"role": "any"})
STRANGER = Pod("stranger", "elsewhere", {"role": "frontend"})
OUTSIDE = "203.0.113.7"


def network(text: str) -> Network:
    """The policies of an example in the examples' world."""
    return Network([one for one in yaml.safe_load_all(f"{WORLD}\n---\n{text}") if one])


def test_without_policies_everything_is_allowed() -> None:
    """Documentation: "By default, if no policies exist in a namespace, then all ingress and egress traffic is
    allowed to and from pods in that namespace."
    """
    nothing = network("")
    for source, destination in ((DB, OTHER), (STRANGER, DB), (OUTSIDE, DB), (DB, OUTSIDE)):
        assert nothing.allows(source, destination, 80)
        assert nothing.allows(source, destination, 53, "UDP")


#: service/networking/networkpolicy.yaml
EXAMPLE = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: test-network-policy
  namespace: default
spec:
  podSelector:
    matchLabels:
      role: db
  policyTypes:
  - Ingress
  - Egress
  ingress:
  - from:
    - ipBlock:
        cidr: 172.17.0.0/16
        except:
        - 172.17.1.0/24
    - namespaceSelector:
        matchLabels:
          project: myproject
    - podSelector:
        matchLabels:
          role: frontend
    ports:
    - protocol: TCP
      port: 6379
  egress:
  - to:
    - ipBlock:
        cidr: 10.0.0.0/24
    ports:
    - protocol: TCP
      port: 5978
"""


@pytest.mark.parametrize(
    ("source", "destination", "port", "protocol", "allowed"),
    [
        # "any pod in the default namespace with the label role=frontend", "on TCP port 6379"
        (FRONTEND, DB, 6379, "TCP", True),
        (FRONTEND, DB, 6380, "TCP", False),
        (FRONTEND, DB, 6379, "UDP", False),
        (OTHER, DB, 6379, "TCP", False),
        (STRANGER, DB, 6379, "TCP", False),  # the label is right, the namespace is not
        # "any pod in a namespace with the label project=myproject"
        (MINE, DB, 6379, "TCP", True),
        (MINE, DB, 80, "TCP", False),
        # "IP addresses in the ranges 172.17.0.0-172.17.0.255 and 172.17.2.0-172.17.255.255"
        ("172.17.0.0", DB, 6379, "TCP", True),
        ("172.17.0.255", DB, 6379, "TCP", True),
        ("172.17.1.0", DB, 6379, "TCP", False),
        ("172.17.1.255", DB, 6379, "TCP", False),
        ("172.17.2.0", DB, 6379, "TCP", True),
        ("172.17.255.255", DB, 6379, "TCP", True),
        ("172.18.0.0", DB, 6379, "TCP", False),
        ("172.17.2.0", DB, 6380, "TCP", False),
        # "(Egress rules) allows connections from any pod in the default namespace with the label role=db to CIDR
        # 10.0.0.0/24 on TCP port 5978"
        (DB, "10.0.0.0", 5978, "TCP", True),
        (DB, "10.0.0.255", 5978, "TCP", True),
        (DB, "10.0.1.0", 5978, "TCP", False),
        (DB, "10.0.0.1", 5979, "TCP", False),
        (DB, "10.0.0.1", 5978, "UDP", False),
        (DB, FRONTEND, 5978, "TCP", False),
        # "isolates role=db pods in the default namespace": nobody else
        (FRONTEND, OTHER, 80, "TCP", True),
        (OUTSIDE, FRONTEND, 80, "TCP", True),
        (FRONTEND, Pod("db", "elsewhere", {"role": "db"}), 80, "TCP", True),
    ],
)
def test_the_example_policy_allows_what_its_explanation_says(
    source: Peer, destination: Peer, port: int, protocol: str, allowed: bool
) -> None:
    assert network(EXAMPLE).allows(source, destination, port, protocol) is allowed


#: The page shows these two without the head of a policy.
_HEAD = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: client, namespace: default}
spec:
  podSelector: {}
"""
ONE_ELEMENT = f"""{_HEAD}
  ingress:
  - from:
    - namespaceSelector:
        matchLabels:
          user: alice
      podSelector:
        matchLabels:
          role: client
"""
TWO_ELEMENTS = f"""{_HEAD}
  ingress:
  - from:
    - namespaceSelector:
        matchLabels:
          user: alice
    - podSelector:
        matchLabels:
          role: client
"""


@pytest.mark.parametrize(
    ("source", "in_one", "in_two"),
    [
        (Pod("a", "alices", {"role": "client"}), True, True),
        (Pod("b", "alices", {"role": "other"}), False, True),
        (CLIENT, False, True),
        (OTHER, False, False),
        (Pod("c", "elsewhere", {"role": "client"}), False, False),
    ],
)
def test_two_selectors_in_one_element_are_both_needed_and_in_two_elements_either_is_enough(
    source: Pod, in_one: bool, in_two: bool
) -> None:
    """Documentation: "a single `from` element allowing connections from Pods with the label `role=client` in
    namespaces with the label `user=alice`"; "two elements in the `from` array, and allows connections from Pods
    in the local Namespace with the label `role=client`, *or* from any Pod in any namespace with the label
    `user=alice`"
    """
    assert network(ONE_ELEMENT).allows(source, DB, 80) is in_one
    assert network(TWO_ELEMENTS).allows(source, DB, 80) is in_two


def _default(name: str, rest: str) -> str:
    """The page's default policies, as their files write them."""
    return (
        f'{{apiVersion: "networking.k8s.io/v1", kind: "NetworkPolicy", metadata: {{name: "{name}"}},'
        f" spec: {{podSelector: {{}}, {rest}}}}}"
    )


DENY_INGRESS = _default("default-deny-ingress", 'policyTypes: ["Ingress"]')
ALLOW_INGRESS = _default("allow-all-ingress", 'ingress: [{}], policyTypes: ["Ingress"]')
DENY_EGRESS = _default("default-deny-egress", 'policyTypes: ["Egress"]')
ALLOW_EGRESS = _default("allow-all-egress", 'egress: [{}], policyTypes: ["Egress"]')
DENY_ALL = _default("default-deny-all", 'policyTypes: ["Ingress", "Egress"]')


@pytest.mark.parametrize(
    ("policies", "into", "out_of"),
    [
        # "even pods that aren't selected by any other NetworkPolicy will still be isolated for ingress. This policy
        # does not affect isolation for egress from any pod."
        ([DENY_INGRESS], False, True),
        # "This policy has no effect on isolation for egress from any pod."
        ([ALLOW_INGRESS], True, True),
        # "will not be allowed egress traffic. This policy does not change the ingress isolation behavior of any pod."
        ([DENY_EGRESS], True, False),
        ([ALLOW_EGRESS], True, True),
        # "will not be allowed ingress or egress traffic"
        ([DENY_ALL], False, False),
        # "With this policy in place, no additional policy or policies can cause any incoming connection to those pods
        # to be denied."
        ([ALLOW_INGRESS, DENY_ALL], True, False),
        # "no additional policy or policies can cause any outgoing connection from those pods to be denied"
        ([ALLOW_EGRESS, DENY_ALL], False, True),
        ([ALLOW_INGRESS, ALLOW_EGRESS, DENY_ALL], True, True),
    ],
)
def test_default_policies_isolate_only_the_direction_that_they_name(
    policies: list[str], into: bool, out_of: bool
) -> None:
    made = network("\n---\n".join(policies))
    for peer in (OUTSIDE, STRANGER):
        assert made.allows(peer, DB, 80) is into
        assert made.allows(DB, peer, 80) is out_of


@pytest.mark.parametrize(
    ("port", "allowed"), [(31999, False), (32000, True), (32500, True), (32768, True), (32769, False)]
)
def test_a_range_of_ports_holds_both_its_ends(port: int, allowed: bool) -> None:
    """Documentation: "The above rule allows any Pod with label `role=db` on the namespace `default` to
    communicate with any IP within the range `10.0.0.0/24` over TCP, provided that the target port is between the
    range 32000 and 32768."
    """
    made = network("""
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: multi-port-egress
  namespace: default
spec:
  podSelector:
    matchLabels:
      role: db
  policyTypes:
  - Egress
  egress:
  - to:
    - ipBlock:
        cidr: 10.0.0.0/24
    ports:
    - protocol: TCP
      port: 32000
      endPort: 32768
""")
    assert made.allows(DB, "10.0.0.9", port) is allowed
    assert not made.allows(DB, "10.0.1.9", port)
    assert not made.allows(DB, "10.0.0.9", port, "UDP")


def test_several_namespaces_are_chosen_by_their_labels() -> None:
    """Documentation: "your `Egress` NetworkPolicy targets more than one namespace using their label names" """
    made = network("""
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: egress-namespaces
spec:
  podSelector:
    matchLabels:
      app: myapp
  policyTypes:
  - Egress
  egress:
  - to:
    - namespaceSelector:
        matchExpressions:
          - key: namespace
            operator: In
            values: ["frontend", "backend"]
""")
    app = Pod("app", "default", {"app": "myapp"})
    for namespace, allowed in (("frontend", True), ("backend", True), ("mine", False), ("default", False)):
        assert made.allows(app, Pod("any", namespace), 80) is allowed, namespace
    assert not made.allows(app, OUTSIDE, 80)
    assert made.allows(DB, OUTSIDE, 80), "not selected"


def test_a_namespace_is_chosen_by_the_label_that_carries_its_name() -> None:
    """Documentation: "The Kubernetes control plane sets an immutable label `kubernetes.io/metadata.name` on all
    namespaces, the value of the label is the namespace name."
    """
    made = network(f"""{_HEAD}
  ingress:
  - from:
    - namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: mine}}}}
""")
    assert made.allows(MINE, DB, 80)
    assert not made.allows(STRANGER, DB, 80)
    assert not made.allows(FRONTEND, DB, 80), "the policy's own namespace is not meant"


def test_pods_of_the_hosts_network_count_as_addresses_of_their_node() -> None:
    """Documentation: "it ignores `hostNetwork` pods when matching `podSelector` and `namespaceSelector`. [...]
    (This is the most common implementation.)"; "you can allow traffic from a `hostNetwork` Pod using an
    `ipBlock` rule"
    """
    host = replace(CLIENT, host_network=True, address="192.0.2.4")
    by_label = network(f"{_HEAD}\n  ingress:\n  - from: [{{podSelector: {{matchLabels: {{role: client}}}}}}]")
    assert by_label.allows(CLIENT, DB, 80)
    assert not by_label.allows(host, DB, 80)
    by_namespace = network(f"{_HEAD}\n  ingress:\n  - from: [{{namespaceSelector: {{}}}}]")
    assert by_namespace.allows(CLIENT, DB, 80)
    assert not by_namespace.allows(host, DB, 80)
    by_address = network(f"{_HEAD}\n  ingress:\n  - from: [{{ipBlock: {{cidr: 192.0.2.0/24}}}}]")
    assert by_address.allows(host, DB, 80)
    assert not by_address.allows(CLIENT, DB, 80)
    assert network(DENY_ALL).allows(OUTSIDE, host, 80), "selected by spec.podSelector, and yet not isolated"


def test_one_side_that_does_not_allow_is_enough_to_stop_a_connection() -> None:
    """Documentation: "For a connection from a source pod to a destination pod to be allowed, both the egress
    policy on the source pod and the ingress policy on the destination pod need to allow the connection."
    """
    lets_out = _default("out", 'egress: [{to: [{podSelector: {matchLabels: {role: db}}}]}], policyTypes: ["Egress"]')
    assert network(lets_out).allows(FRONTEND, DB, 80)
    both = network(f"{lets_out}\n---\n{DENY_INGRESS}")
    assert both.lets_out(FRONTEND, DB, 80)
    assert not both.lets_in(FRONTEND, DB, 80)
    assert not both.allows(FRONTEND, DB, 80)
    assert not network(f"{DENY_EGRESS}\n---\n{ALLOW_INGRESS}").allows(FRONTEND, DB, 80)


def test_a_pod_always_reaches_itself() -> None:
    """Documentation: "a pod cannot block access to itself" """
    assert network(DENY_ALL).allows(DB, DB, 80)


def test_policies_add_up() -> None:
    """Documentation: "the connections allowed in that direction from that pod is the union of what the
    applicable policies allow"
    """
    made = network(f"{DENY_ALL}\n---\n{EXAMPLE}\n---\n{ALLOW_EGRESS}")
    assert made.allows(FRONTEND, DB, 6379)
    assert not made.allows(OTHER, DB, 6379)
    assert made.allows(DB, OUTSIDE, 1), "the example names one network, the other policy all"


@pytest.mark.parametrize(
    ("rest", "into", "out_of"),
    [
        ("", False, True),
        ("egress: []", False, True),
        ("egress: [{ports: [{port: 53, protocol: UDP}]}]", False, False),
        ("ingress: [{}]", True, True),
        ("policyTypes: []", False, True),
        ("egress: [{ports: [{port: 53, protocol: UDP}]}], policyTypes: [Ingress]", False, True),
        ("ingress: [{}], policyTypes: [Egress]", True, False),
    ],
)
def test_without_policy_types_a_policy_is_for_ingress_and_for_egress_where_it_has_such_rules(
    rest: str, into: bool, out_of: bool
) -> None:
    """Documentation: "If no `policyTypes` are specified on a NetworkPolicy then by default `Ingress` will always
    be set and `Egress` will be set if the NetworkPolicy has any egress rules."
    """
    made = network(_default("some", rest))
    assert made.allows(OUTSIDE, DB, 80) is into
    assert made.allows(DB, OUTSIDE, 80) is out_of


@pytest.mark.parametrize(
    ("peers", "allowed"),
    [
        ("[]", ["other", "frontend", "stranger", "v4", "v6"]),
        ("[{podSelector: {}}]", ["other", "frontend"]),
        ("[{podSelector: {matchLabels: {role: frontend}}}]", ["frontend"]),
        ("[{namespaceSelector: {}}]", ["other", "frontend", "stranger"]),
        ("[{namespaceSelector: {}, podSelector: {}}]", ["other", "frontend", "stranger"]),
        ("[{namespaceSelector: {}, podSelector: {matchLabels: {role: frontend}}}]", ["frontend", "stranger"]),
        ("[{ipBlock: {cidr: 0.0.0.0/0}}]", ["v4"]),
        ('[{ipBlock: {cidr: "::/0"}}]', ["v6"]),
    ],
)
@pytest.mark.parametrize(("way", "side"), [("ingress", "from"), ("egress", "to")])
def test_an_empty_selector_means_all_and_a_missing_one_the_policys_own_namespace(
    way: str, side: str, peers: str, allowed: list[str]
) -> None:
    """Documentation: "podSelector: This selects particular Pods in the same namespace as the NetworkPolicy";
    "namespaceSelector: This selects particular namespaces for which all Pods should be allowed"
    """
    made = network(_default("peers", f"policyTypes: [{way.capitalize()}], {way}: [{{{side}: {peers}}}]"))
    everybody: dict[str, Peer] = {
        "other": OTHER,
        "frontend": FRONTEND,
        "stranger": STRANGER,
        "v4": OUTSIDE,
        "v6": "2001:db8::7",
    }
    assert [
        name
        for name, peer in everybody.items()
        if (made.allows(peer, DB, 80) if way == "ingress" else made.allows(DB, peer, 80))
    ] == allowed


@pytest.mark.parametrize(
    ("ports", "port", "protocol", "allowed"),
    [
        ("[]", 1, "SCTP", True),
        ("[{protocol: UDP}]", 53, "UDP", True),
        ("[{protocol: UDP}]", 53, "TCP", False),
        ("[{port: 80}]", 80, "TCP", True),
        ("[{port: 80}]", 80, "UDP", False),
        ("[{port: http}]", 8080, "TCP", True),
        ("[{port: http}]", 80, "TCP", False),
        ("[{port: http, protocol: UDP}]", 8080, "UDP", False),
        ("[{port: metrics}]", 8080, "TCP", False),
        ("[{port: 80}, {port: http}]", 8080, "TCP", True),
    ],
)
@pytest.mark.parametrize("way", ["ingress", "egress"])
def test_a_named_port_is_the_destinations_and_a_port_without_protocol_is_of_tcp(
    way: str, ports: str, port: int, protocol: str, allowed: bool
) -> None:
    """API reference: "This can either be a numerical or named port on a pod. If this field is not provided, this
    matches all port names and numbers."; "protocol [...] If not specified, this field defaults to TCP."
    """
    made = network(_default("named", f"policyTypes: [{way.capitalize()}], {way}: [{{ports: {ports}}}]"))
    server = Pod("server", "default", {}, (("http", "TCP", 8080), ("metrics", "TCP", 9090)))
    client = Pod("client", "default", {}, (("http", "TCP", 1),))
    assert made.allows(client, server, port, protocol) is allowed


def test_a_named_port_never_matches_an_address_outside() -> None:
    made = network(_default("named", "policyTypes: [Egress], egress: [{ports: [{port: http}]}]"))
    assert not made.allows(DB, OUTSIDE, 8080)


@pytest.mark.parametrize(
    ("expression", "selected"),
    [
        ("{key: tier, operator: In, values: [a, b]}", {"a", "b"}),
        ("{key: tier, operator: NotIn, values: [a, b]}", {"c", "none"}),
        ("{key: tier, operator: Exists}", {"a", "b", "c"}),
        ("{key: tier, operator: DoesNotExist}", {"none"}),
    ],
)
def test_the_four_operators_of_label_selectors(expression: str, selected: set[str]) -> None:
    pods = {"a": {"tier": "a"}, "b": {"tier": "b"}, "c": {"tier": "c"}, "none": {}}
    selector = yaml.safe_load(f"{{matchExpressions: [{expression}]}}")
    assert {name for name, labels in pods.items() if matches(selector, labels)} == selected
    with_labels = {**selector, "matchLabels": {"tier": "a"}}
    assert {name for name, labels in pods.items() if matches(with_labels, labels)} == selected & {"a"}


@pytest.mark.parametrize("peer", ["{}", "{ipBlock: {cidr: 10.0.0.0/8}, podSelector: {}}"])
def test_peers_that_the_api_server_would_refuse_are_refused(peer: str) -> None:
    made = network(f"{_HEAD}\n  ingress:\n  - from: [{peer}]")
    with pytest.raises(ValueError, match="NetworkPolicyPeer"):
        made.allows(OTHER, DB, 80)


def test_pods_come_from_every_kind_of_workload() -> None:
    pod = {
        "hostNetwork": True,
        "serviceAccountName": "a",
        "containers": [{"ports": [{"name": "p", "containerPort": 1}]}],
    }
    template = {"template": {"metadata": {"labels": {"app": "x"}}, "spec": pod}}
    kinds = ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job"]
    made = Network(
        [
            *({"kind": kind, "metadata": {"name": kind, "namespace": "n"}, "spec": template} for kind in kinds),
            {
                "kind": "CronJob",
                "metadata": {"name": "CronJob", "namespace": "n"},
                "spec": {"jobTemplate": {"spec": template}},
            },
            {"kind": "Pod", "metadata": {"name": "Pod", "namespace": "n", "labels": {"app": "x"}}, "spec": pod},
            {"kind": "Service", "metadata": {"name": "Service", "namespace": "n"}, "spec": {}},
        ]
    )
    assert len(made.pods) == 7
    for kind in [*kinds, "CronJob", "Pod"]:
        assert made.pod(kind, "n") == Pod(kind, "n", {"app": "x"}, (("p", "TCP", 1),), True, service_account="a")
