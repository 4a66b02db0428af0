"""The evaluator of Istio's security policies gives, for the examples of Istio's documentation, the documented verdicts.

Examples and sentences in quotes: https://istio.io/latest/docs/concepts/security/ (Security), the reference of
AuthorizationPolicy, PeerAuthentication and RequestAuthentication, the tasks below "Authorization", "Security policy
examples", and "Use Layer 4 security policy" and "Use Layer 7 features" of the ambient mode (Istio Authors, Apache-2.0).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml

from tests.evaluators.authorization import Verdict, Waypoint, Workload, decide, mutual_tls
from tests.evaluators.authorization_rules import Http, Request, Token

Json = Any

ALLOWED, DENIED, UNAUTHENTICATED, PLAIN = (
    Verdict.ALLOWED,
    Verdict.DENIED,
    Verdict.INVALID_TOKEN,
    Verdict.NO_MUTUAL_TLS,
)

SLEEP = "cluster.local/ns/default/sa/sleep"
HTTPBIN = Workload("foo", {"app": "httpbin", "version": "v1"})
GOOGLE = Token({"iss": "https://accounts.google.com", "sub": "someone"})


def policies(text: str) -> list[Json]:
    """An example's objects."""
    return [one for one in yaml.safe_load_all(text) if one]


def policy(spec: str, name: str = "example", namespace: str = "foo", kind: str = "AuthorizationPolicy") -> Json:
    """An object of which the page shows only the part that matters."""
    return {"kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": yaml.safe_load(spec)}


def http(
    method: str = "GET", path: str = "/", *, principal: str | None = SLEEP, token: Token | None = None, **more: Any
) -> Request:
    """A request over HTTP on port 8000."""
    host, headers = more.pop("host", "httpbin.foo"), more.pop("headers", {})
    return Request(**{"port": 8000, **more}, principal=principal, http=Http(method, path, host, headers, token))


def issuers(*names: str, namespace: str = "foo") -> Json:
    """Accepts tokens of these issuers."""
    return policy(str({"jwtRules": [{"issuer": name} for name in names]}), "jwt", namespace, "RequestAuthentication")


# --- Reference: Authorization Policy ---------------------------------------------------------------------------------

REFERENCE = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: httpbin
  namespace: foo
spec:
  action: ALLOW
  rules:
  - from:
    - source:
        principals: ["cluster.local/ns/default/sa/sleep"]
    - source:
        namespaces: ["test"]
    to:
    - operation:
        methods: ["GET"]
        paths: ["/info*"]
    - operation:
        methods: ["POST"]
        paths: ["/data"]
    when:
    - key: request.auth.claims[iss]
      values: ["https://accounts.google.com"]
"""
_TEST = "cluster.local/ns/test/sa/any"


@pytest.mark.parametrize(
    ("request_", "verdict"),
    [
        (http("GET", "/info", token=GOOGLE), ALLOWED),
        (http("GET", "/information/1", token=GOOGLE), ALLOWED),
        (http("POST", "/data", token=GOOGLE), ALLOWED),
        (http("GET", "/info", principal=_TEST, token=GOOGLE), ALLOWED),
        # "Any other requests will be denied."
        (http("GET", "/data", token=GOOGLE), DENIED),
        (http("POST", "/info", token=GOOGLE), DENIED),
        (http("POST", "/data/1", token=GOOGLE), DENIED),
        (http("GET", "/info"), DENIED),
        (http("GET", "/info", principal="cluster.local/ns/default/sa/other", token=GOOGLE), DENIED),
        (http("GET", "/info", principal="cluster.local/ns/testing/sa/sleep", token=GOOGLE), DENIED),
        (http("GET", "/info", principal=None, token=GOOGLE), DENIED),
        (http("GET", "/info", token=Token({"iss": "other", "sub": "someone"})), DENIED),
    ],
)
def test_a_rule_needs_one_source_one_operation_and_every_condition(request_: Request, verdict: Verdict) -> None:
    """Documentation: "It allows requests from: service account `cluster.local/ns/default/sa/sleep` or namespace
    `test` to access the workload with: `GET` method at paths of prefix `/info` or, `POST` method at path `/data`.
    when the request has a valid JWT token issued by `https://accounts.google.com`."
    """
    accepted = issuers("https://accounts.google.com", "other")
    assert decide([*policies(REFERENCE), accepted], request_, HTTPBIN) is verdict


def test_a_policy_is_for_its_own_namespace() -> None:
    assert decide(policies(REFERENCE), http("DELETE", "/"), Workload("bar", {"app": "httpbin"})) is ALLOWED


DENY_DEV = """
{action: DENY, rules: [{from: [{source: {namespaces: ["dev"]}}], to: [{operation: {methods: ["POST"]}}]}]}
"""


def test_a_deny_policy_denies_what_matches_and_nothing_else() -> None:
    """Documentation: "It denies requests from the `dev` namespace to the `POST` method on all workloads in the
    `foo` namespace."
    """
    dev = "cluster.local/ns/dev/sa/any"
    assert decide([policy(DENY_DEV)], http("POST", principal=dev), HTTPBIN) is DENIED
    assert decide([policy(DENY_DEV)], http("GET", principal=dev), HTTPBIN) is ALLOWED
    assert decide([policy(DENY_DEV)], http("POST"), HTTPBIN) is ALLOWED


def test_what_tcp_does_not_have_counts_as_matched_in_a_deny_policy() -> None:
    """Documentation: "For a `DENY` rule, missing attributes are treated as matches. This means all TCP traffic on
    port `8080` would be denied in the example above. If we were to remove the `ports` match, all TCP traffic would
    be denied."
    """
    with_port = [policy('{action: DENY, rules: [{to: [{operation: {methods: ["POST"], ports: ["8080"]}}]}]}')]
    assert decide(with_port, http("POST", port=8080), HTTPBIN) is DENIED
    assert decide(with_port, http("POST", port=8081), HTTPBIN) is ALLOWED
    assert decide(with_port, http("GET", port=8080), HTTPBIN) is ALLOWED
    assert decide(with_port, Request(8080, SLEEP), HTTPBIN) is DENIED
    assert decide(with_port, Request(8081, SLEEP), HTTPBIN) is ALLOWED
    without = [policy('{action: DENY, rules: [{to: [{operation: {methods: ["POST"]}}]}]}')]
    assert decide(without, Request(8081, SLEEP), HTTPBIN) is DENIED


def test_auditing_decides_nothing() -> None:
    """Documentation: "AUDIT policies do not affect whether requests are allowed or denied to the workload." """
    audit = policy('{action: AUDIT, rules: [{to: [{operation: {methods: ["GET"], paths: ["/user/profile/*"]}}]}]}')
    for path in ("/user/profile/1", "/other"):
        assert decide([audit], http("GET", path), HTTPBIN) is ALLOWED
        assert decide([audit, policy("{}")], http("GET", path), HTTPBIN) is DENIED


SCOPES: list[tuple[str, Json, dict[str, bool]]] = [
    (
        "It allows nothing and effectively denies all requests to workloads in namespace `foo`.",
        policy("{}", "allow-nothing", "foo"),
        {"httpbin.foo": False, "other.foo": False, "httpbin.bar": True, "v2.bar": True},
    ),
    (
        "The following authorization policy allows all requests to workloads in namespace `foo`.",
        policy("{rules: [{}]}", "allow-all", "foo"),
        {"httpbin.foo": True, "other.foo": True, "httpbin.bar": True, "v2.bar": True},
    ),
    (
        "applies to workloads containing label `app: httpbin` in namespace `bar`. It allows nothing",
        policy("{selector: {matchLabels: {app: httpbin}}}", "allow-nothing", "bar"),
        {"httpbin.foo": True, "other.foo": True, "httpbin.bar": False, "v2.bar": True},
    ),
    (
        "applies to workloads containing label `version: v1` in all namespaces in the mesh. (Assuming the root"
        " namespace is configured to `istio-system`).",
        policy("{selector: {matchLabels: {version: v1}}}", "allow-nothing", "istio-system"),
        {"httpbin.foo": False, "other.foo": True, "httpbin.bar": False, "v2.bar": True},
    ),
]


@pytest.mark.parametrize(("sentence", "example", "allowed"), SCOPES, ids=[each[0] for each in SCOPES])
def test_the_scope_of_a_policy_is_its_namespace_and_its_selector(
    sentence: str, example: Json, allowed: dict[str, bool]
) -> None:
    workloads = {
        "httpbin.foo": HTTPBIN,
        "other.foo": Workload("foo", {"app": "other"}),
        "httpbin.bar": replace(HTTPBIN, namespace="bar"),
        "v2.bar": Workload("bar", {"app": "other", "version": "v2"}),
    }
    found = {name: decide([example], http(), to) is ALLOWED for name, to in workloads.items()}
    assert found == allowed


def test_an_empty_rule_always_matches_and_a_policy_without_rules_never() -> None:
    """Documentation: "An empty rule is always matched."; "If not set, the match will never occur. This is
    equivalent to setting a default of deny for the target workloads if the action is ALLOW."
    """
    deny_all, deny_none = policy("{action: DENY, rules: [{}]}"), policy("{action: DENY}")
    allow_all, allow_none = policy("{action: ALLOW, rules: [{}]}"), policy("{action: ALLOW}")
    assert decide([allow_all], http(), HTTPBIN) is ALLOWED
    assert decide([allow_all, allow_none], http(), HTTPBIN) is ALLOWED
    assert decide([allow_none], http(), HTTPBIN) is DENIED
    assert decide([deny_none], http(), HTTPBIN) is ALLOWED
    # "It will always deny the request even if there is another `ALLOW` policy allowing the request"
    assert decide([allow_all, deny_all], http(), HTTPBIN) is DENIED
    assert decide([deny_all], Request(9000, SLEEP), HTTPBIN) is DENIED


def test_without_policies_all_requests_are_allowed() -> None:
    """Documentation: "For workloads without authorization policies applied, Istio allows all requests." """
    assert decide([], http(principal=None), HTTPBIN) is ALLOWED
    assert decide([], Request(9000), HTTPBIN) is ALLOWED


def test_fields_of_a_source_are_all_needed() -> None:
    """Documentation: "matches if the principal is `admin` or `dev` and the namespace is `prod` or `test` and the ip
    is not `203.0.113.4`"
    """
    source = '{principals: ["*/sa/admin", "*/sa/dev"], namespaces: [prod, test], notIpBlocks: ["203.0.113.4"]}'
    found = [policy(f"{{rules: [{{from: [{{source: {source}}}]}}]}}")]

    def of(namespace: str, account: str, ip: str = "203.0.113.5") -> Verdict:
        return decide(found, http(principal=f"cluster.local/ns/{namespace}/sa/{account}", ip=ip), HTTPBIN)

    assert of("prod", "admin") is ALLOWED
    assert of("test", "dev") is ALLOWED
    assert of("prod", "other") is DENIED
    assert of("other", "admin") is DENIED
    assert of("prod", "admin", "203.0.113.4") is DENIED


def test_fields_of_an_operation_are_all_needed() -> None:
    """Documentation: "matches if the host has suffix `.example.com` and the method is `GET` or `HEAD` and the path
    doesn't have prefix `/admin`"; of hosts: "The match is case-insensitive."
    """
    operation = '{hosts: ["*.example.com"], methods: ["GET", "HEAD"], notPaths: ["/admin*"]}'
    found = [policy(f"{{rules: [{{to: [{{operation: {operation}}}]}}]}}")]
    assert decide(found, http("GET", "/", host="shop.example.com"), HTTPBIN) is ALLOWED
    assert decide(found, http("HEAD", "/", host="SHOP.Example.COM"), HTTPBIN) is ALLOWED
    assert decide(found, http("GET", "/", host="example.com"), HTTPBIN) is DENIED
    assert decide(found, http("POST", "/", host="shop.example.com"), HTTPBIN) is DENIED
    assert decide(found, http("GET", "/admin/1", host="shop.example.com"), HTTPBIN) is DENIED


@pytest.mark.parametrize(
    ("account", "verdicts"),
    [
        ("bar/sleep", {"bar": ALLOWED, "foo": DENIED}),
        ("sleep", {"bar": DENIED, "foo": ALLOWED}),
        ("*", {"bar": DENIED, "foo": DENIED}),
    ],
)
def test_a_service_account_without_a_namespace_is_of_the_policys_own(
    account: str, verdicts: dict[str, Verdict]
) -> None:
    """Documentation: "`<serviceaccount>` may also be used to use the same namespace as the `AuthorizationPolicy`.";
    "No form of wildcard (`*`) is allowed."
    """
    found = [policy(f'{{rules: [{{from: [{{source: {{serviceAccounts: ["{account}"]}}}}]}}]}}')]
    for namespace, verdict in verdicts.items():
        assert decide(found, http(principal=f"cluster.local/ns/{namespace}/sa/sleep"), HTTPBIN) is verdict
    assert decide(found, http(principal=None), HTTPBIN) is DENIED


@pytest.mark.parametrize(
    ("wanted", "matching", "others"),
    [
        # "`/foo/{*}` matches `/foo/bar` but not `/foo/bar/baz`"
        ("/foo/{*}", ["/foo/bar"], ["/foo/bar/baz", "/foo/", "/foo"]),
        # "`/foo/{**}/` matches `/foo/bar/`, `/foo/bar/baz.txt`, and `/foo//` but not `/foo/bar`": the second has
        # no last slash and is left out here, as the fourth says that the slash is needed
        ("/foo/{**}/", ["/foo/bar/", "/foo/bar/baz/", "/foo//"], ["/foo/bar"]),
        # "`/foo/{*}/bar/{**}` matches `/foo/buzz/bar/` and `/foo/buzz/bar/baz`"
        (
            "/foo/{*}/bar/{**}",
            ["/foo/buzz/bar/", "/foo/buzz/bar/baz", "/foo/b/bar/a/b"],
            ["/foo/a/b/bar/c", "/foo/bar/"],
        ),
        ("/a.b/{*}", ["/a.b/c"], ["/aXb/c"]),
        # "`abc` will match on value `abc`", and the other three forms
        ("abc", ["abc"], ["abcd", "xabc", ""]),
        ("abc*", ["abc", "abcd"], ["xabc", "ab"]),
        ("*abc", ["abc", "xabc"], ["abcd", "bc"]),
        ("*", ["anything"], [""]),
    ],
)
def test_paths_match_as_templates_exactly_by_prefix_by_suffix_or_by_presence(
    wanted: str, matching: list[str], others: list[str]
) -> None:
    allow = [policy(f'{{rules: [{{to: [{{operation: {{paths: ["{wanted}"]}}}}]}}]}}')]
    assert [path for path in (*matching, *others) if decide(allow, http(path=path), HTTPBIN) is ALLOWED] == matching
    negated = [policy(f'{{rules: [{{to: [{{operation: {{notPaths: ["{wanted}"]}}}}]}}]}}')]
    assert [path for path in (*matching, *others) if decide(negated, http(path=path), HTTPBIN) is ALLOWED] == others


@pytest.mark.parametrize(
    "template", ["/*/baz/{*}", "/**/baz/{*}", "/{**}/foo/{*}", "/foo/{*}.txt", "/foo/{x}", "/{**}/{**}"]
)
def test_templates_that_the_reference_calls_invalid_are_refused(template: str) -> None:
    found = [policy(f'{{rules: [{{to: [{{operation: {{paths: ["{template}"]}}}}]}}]}}')]
    with pytest.raises(ValueError, match="not a valid path template"):
        decide(found, http(path="/foo/bar"), HTTPBIN)


# --- Concepts: Security ----------------------------------------------------------------------------------------------


def test_the_deny_policy_takes_precedence_over_the_allow_policy() -> None:
    """Documentation: "allows two sources [...] to access the workloads with the `app: httpbin` and `version: v1`
    labels in the `foo` namespace when requests sent have a valid JWT token"; "denies requests if the source is not
    the `foo` namespace"; "The deny policy takes precedence over the allow policy."
    """
    selector = "selector: {matchLabels: {app: httpbin, version: v1}}"
    allow = policy(f"""
{{{selector}, action: ALLOW, rules: [{{
  from: [{{source: {{principals: ["cluster.local/ns/default/sa/sleep"]}}}}, {{source: {{namespaces: ["dev"]}}}}],
  to: [{{operation: {{methods: ["GET"]}}}}],
  when: [{{key: "request.auth.claims[iss]", values: ["https://accounts.google.com"]}}]}}]}}
""")
    deny = policy(f'{{{selector}, action: DENY, rules: [{{from: [{{source: {{notNamespaces: ["foo"]}}}}]}}]}}', "deny")
    accepted = issuers("https://accounts.google.com")
    asked = http(token=GOOGLE)
    assert decide([allow, accepted], asked, HTTPBIN) is ALLOWED
    assert decide([allow, accepted], http(), HTTPBIN) is DENIED
    assert decide([allow, accepted], asked, replace(HTTPBIN, labels={"app": "httpbin", "version": "v2"})) is ALLOWED
    assert decide([allow, deny, accepted], asked, HTTPBIN) is DENIED
    own = http(principal="cluster.local/ns/foo/sa/any", token=GOOGLE)
    assert decide([deny], own, HTTPBIN) is ALLOWED
    assert decide([allow, deny, accepted], own, HTTPBIN) is DENIED
    assert decide([deny], http(principal=None), HTTPBIN) is DENIED, "plain text comes from no namespace"


def test_reading_only_by_method() -> None:
    """Documentation: "the `allow-read` policy allows `"GET"` and `"HEAD"` access to the workload with the `app:
    products` label in the `default` namespace"
    """
    rules = '[{to: [{operation: {methods: ["GET", "HEAD"]}}]}]'
    spec = f"{{selector: {{matchLabels: {{app: products}}}}, action: ALLOW, rules: {rules}}}"
    found, products = [policy(spec, "allow-read", "default")], Workload("default", {"app": "products"})
    assert [method for method in ("GET", "HEAD", "POST") if decide(found, http(method), products) is ALLOWED] == [
        "GET",
        "HEAD",
    ]


def test_paths_by_prefix_and_by_suffix() -> None:
    """Documentation: "allows access at paths with the `/test/*` prefix or the `*/info` suffix" """
    found = [policy('{rules: [{to: [{operation: {paths: ["/test/*", "*/info"]}}]}]}')]
    asked = ["/test/1", "/a/info", "/test", "/info/a"]
    assert [path for path in asked if decide(found, http(path=path), HTTPBIN) is ALLOWED] == ["/test/1", "/a/info"]


def test_a_request_principal_is_asked_for_except_at_one_path() -> None:
    """Documentation: "requires a valid request principals, which is derived from JWT authentication, if the request
    path is not `/healthz`". As an ALLOW policy it says nothing of `/healthz`; the reference's second rule lets that
    path in.
    """
    jwt, token = issuers("issuer-foo"), Token({"iss": "issuer-foo", "sub": "a"})
    spec = '{to: [{operation: {notPaths: ["/healthz"]}}], from: [{source: {requestPrincipals: ["*"]}}]}'
    found = [jwt, policy(f"{{rules: [{spec}]}}")]
    assert decide(found, http(path="/a", token=token), HTTPBIN) is ALLOWED
    assert decide(found, http(path="/a"), HTTPBIN) is DENIED
    # "to require JWT on all paths, except /healthz"
    reference = '{rules: [{from: [{source: {requestPrincipals: ["*"]}}]}, {to: [{operation: {paths: ["/healthz"]}}]}]}'
    found = [jwt, policy(reference)]
    assert decide(found, http(path="/healthz"), HTTPBIN) is ALLOWED
    assert decide(found, http(path="/a"), HTTPBIN) is DENIED
    assert decide(found, http(path="/a", token=token), HTTPBIN) is ALLOWED


def test_requests_without_a_request_principal_are_denied_at_one_path() -> None:
    """Documentation: "denies the request to the `/admin` path for requests without request principals" """
    rule = '{to: [{operation: {paths: ["/admin"]}}], from: [{source: {notRequestPrincipals: ["*"]}}]}'
    found = [issuers("issuer-foo"), policy(f"{{action: DENY, rules: [{rule}]}}")]
    assert decide(found, http(path="/admin"), HTTPBIN) is DENIED
    assert decide(found, http(path="/admin", token=Token({"iss": "issuer-foo", "sub": "a"})), HTTPBIN) is ALLOWED
    assert decide(found, http(path="/other"), HTTPBIN) is ALLOWED


def test_a_condition_on_a_header() -> None:
    """Documentation: "a condition that `request.headers[version]` is either `"v1"` or `"v2"`" """
    spec = '{rules: [{when: [{key: "request.headers[version]", values: ["v1", "v2"]}]}]}'
    for headers, verdict in (({"Version": "v2"}, ALLOWED), ({"version": "v3"}, DENIED), ({}, DENIED)):
        assert decide([policy(spec)], http(headers=headers), HTTPBIN) is verdict


def test_authenticated_callers_only_or_everybody() -> None:
    """Documentation: "If you want to make a workload publicly accessible, you need to leave the `source` section
    empty."; "To allow only authenticated users, set `principals` to `"*"`"
    """
    everybody = policy('{rules: [{to: [{operation: {methods: ["GET", "POST"]}}]}]}')
    known = policy('{rules: [{from: [{source: {principals: ["*"]}}], to: [{operation: {methods: ["GET", "POST"]}}]}]}')
    assert decide([everybody], http(principal=None), HTTPBIN) is ALLOWED
    assert decide([known], http(principal=None), HTTPBIN) is DENIED
    assert decide([known], http(), HTTPBIN) is ALLOWED


def test_one_identity_reaches_a_tcp_port() -> None:
    """Documentation: "configures an authorization policy to only allows the `bookinfo-ratings-v2` service in the
    Istio mesh to access the MongoDB workload"
    """
    ratings = "cluster.local/ns/default/sa/bookinfo-ratings-v2"
    found = [
        policy(
            "{selector: {matchLabels: {app: mongodb}}, action: ALLOW, rules: [{"
            f"from: [{{source: {{principals: [{ratings}]}}}}], to: [{{operation: {{ports: ['27017']}}}}]}}]}}",
            "mongodb-policy",
            "default",
        )
    ]
    mongodb = Workload("default", {"app": "mongodb"})
    assert decide(found, Request(27017, ratings), mongodb) is ALLOWED
    assert decide(found, Request(27018, ratings), mongodb) is DENIED
    assert decide(found, Request(27017, SLEEP), mongodb) is DENIED
    assert decide(found, Request(27017), mongodb) is DENIED


# --- Tasks: Authorization --------------------------------------------------------------------------------------------


def _viewer(app: str, source: str | None = None) -> Json:
    """The task's policies: GET on one workload, from one service account or from everybody."""
    rule: Json = {"to": [{"operation": {"methods": ["GET"]}}]}
    if source:
        rule["from"] = [{"source": {"principals": [f"cluster.local/ns/default/sa/{source}"]}}]
    spec = {"selector": {"matchLabels": {"app": app}}, "action": "ALLOW", "rules": [rule]}
    return policy(str(spec), f"{app}-viewer", "default")


def test_the_http_task_opens_one_edge_after_the_other() -> None:
    """Documentation: "First, you configure a simple `allow-nothing` policy that rejects all requests to the
    workload, and then grant more access to the workload gradually and incrementally."
    """
    edges = [
        (None, "productpage"),
        ("bookinfo-productpage", "details"),
        ("bookinfo-productpage", "reviews"),
        ("bookinfo-reviews", "ratings"),
    ]
    applied = [policy("{}", "allow-nothing", "default")]

    def open_edges() -> list[tuple[str | None, str]]:
        return [
            (source, app)
            for source, app in edges
            if decide(
                applied,
                http(principal=source and f"cluster.local/ns/default/sa/{source}"),
                Workload("default", {"app": app}),
            )
            is ALLOWED
        ]

    assert open_edges() == []
    for count, (source, app) in enumerate(edges, 1):
        applied.append(_viewer(app, source))
        assert open_edges() == edges[:count]
    ratings = Workload("default", {"app": "ratings"})
    assert decide(applied, http(principal="cluster.local/ns/default/sa/bookinfo-productpage"), ratings) is DENIED
    assert decide(applied, http("POST", principal="cluster.local/ns/default/sa/bookinfo-reviews"), ratings) is DENIED


@pytest.mark.parametrize(
    ("spec", "verdicts"),
    [
        # "allow requests to port 9000 and 9001"; "Verify that requests to port 9002 are denied."
        (
            '{action: ALLOW, rules: [{to: [{operation: {ports: ["9000", "9001"]}}]}]}',
            {9000: ALLOWED, 9001: ALLOWED, 9002: DENIED},
        ),
        # "the rule becomes invalid when it uses an HTTP-only field (`methods`) for TCP traffic. Istio ignores the
        # invalid ALLOW rule."
        (
            '{action: ALLOW, rules: [{to: [{operation: {methods: ["GET"], ports: ["9000"]}}]}]}',
            {9000: DENIED, 9001: DENIED},
        ),
        # "due to it's restrictive nature it denies all the traffic to the tcp ports"
        ('{action: DENY, rules: [{to: [{operation: {methods: ["GET"]}}]}]}', {9000: DENIED, 9001: DENIED}),
        # "denied. This occurs because the request matches the `ports`"; "9001 are allowed"
        (
            '{action: DENY, rules: [{to: [{operation: {methods: ["GET"], ports: ["9000"]}}]}]}',
            {9000: DENIED, 9001: ALLOWED},
        ),
        # The whole rule is ignored, not only the alternative that uses HTTP; other rules still count.
        (
            '{rules: [{to: [{operation: {methods: ["GET"]}}, {operation: {ports: ["9000"]}}]}]}',
            {9000: DENIED},
        ),
        (
            '{rules: [{to: [{operation: {methods: ["GET"]}}]}, {to: [{operation: {ports: ["9000"]}}]}]}',
            {9000: ALLOWED, 9001: DENIED},
        ),
        # "The `request_principals` field" and the conditions that the conditions page calls "HTTP only"
        ('{rules: [{from: [{source: {requestPrincipals: ["*"]}}]}]}', {9000: DENIED}),
        ('{rules: [{from: [{source: {notRequestPrincipals: ["x"]}}]}]}', {9000: DENIED}),
        ('{rules: [{when: [{key: "request.headers[a]", notValues: ["x"]}]}]}', {9000: DENIED}),
        ('{rules: [{when: [{key: "request.auth.claims[a]", notValues: ["x"]}]}]}', {9000: DENIED}),
        ('{rules: [{when: [{key: destination.port, values: ["9000"]}]}]}', {9000: ALLOWED, 9001: DENIED}),
    ],
)
def test_the_tcp_task(spec: str, verdicts: dict[int, Verdict]) -> None:
    found = [policy(spec)]
    assert {port: decide(found, Request(port, SLEEP), HTTPBIN) for port in verdicts} == verdicts


DEMO = Token({"iss": "testing@secure.istio.io", "sub": "testing@secure.istio.io", "foo": "bar"})
GROUPS = Token({**DEMO.claims, "groups": ["group1", "group2"], "scope": ["scope1", "scope2"]})


def test_the_jwt_task() -> None:
    accepts = issuers("testing@secure.istio.io")
    # "a request with an invalid JWT is denied: 401"; "a request without a JWT is allowed because there is no
    # authorization policy: 200"
    assert decide([accepts], http(token=replace(DEMO, valid=False)), HTTPBIN) is UNAUTHENTICATED
    assert decide([accepts], http(), HTTPBIN) is ALLOWED
    principal = "testing@secure.istio.io/testing@secure.istio.io"
    require = f"{{action: ALLOW, rules: [{{from: [{{source: {{requestPrincipals: ['{principal}']}}}}]"
    # "a request with a valid JWT is allowed: 200"; "a request without a JWT is denied: 403"
    found = [accepts, policy(f"{require}}}]}}", "require-jwt")]
    assert decide(found, http(token=DEMO), HTTPBIN) is ALLOWED
    assert decide(found, http(), HTTPBIN) is DENIED
    assert decide(found, http(token=replace(DEMO, valid=False)), HTTPBIN) is UNAUTHENTICATED
    # "also require the JWT to have a claim named `groups` containing the value `group1`"
    found = [accepts, policy(f'{require}, when: [{{key: "request.auth.claims[groups]", values: ["group1"]}}]}}]}}')]
    assert decide(found, http(token=GROUPS), HTTPBIN) is ALLOWED
    assert decide(found, http(token=DEMO), HTTPBIN) is DENIED


def test_a_token_that_nobody_asked_for_is_no_identity() -> None:
    """Documentation: of requestPrincipals: "This field requires request authentication enabled" """
    require = policy('{rules: [{from: [{source: {requestPrincipals: ["*"]}}]}]}')
    assert decide([require], http(token=DEMO), HTTPBIN) is DENIED
    assert decide([], http(token=replace(DEMO, valid=False)), HTTPBIN) is ALLOWED
    elsewhere = issuers("testing@secure.istio.io", namespace="bar")
    assert decide([require, elsewhere], http(token=DEMO), HTTPBIN) is DENIED


def test_the_deny_task() -> None:
    token = "{key: 'request.headers[x-token]', notValues: ['admin']}"
    get = "to: [{operation: {methods: ['GET']}}]"
    # "the policy denies requests if their method is `GET`"
    deny = policy(f"{{action: DENY, rules: [{{{get}}}]}}", "deny-method-get")
    assert decide([deny], http("GET"), HTTPBIN) is DENIED
    assert decide([deny], http("POST"), HTTPBIN) is ALLOWED
    # "deny `GET` requests only if the value of the HTTP header `x-token` value is not `admin`"
    deny = policy(f"{{action: DENY, rules: [{{{get}, when: [{token}]}}]}}", "deny-method-get")
    admin, guest = {"x-token": "admin"}, {"x-token": "guest"}
    assert decide([deny], http("GET", headers=admin), HTTPBIN) is ALLOWED
    assert decide([deny], http("GET", headers=guest), HTTPBIN) is DENIED
    # "Deny policies takes precedence over the allow policies"
    allow = policy('{action: ALLOW, rules: [{to: [{operation: {paths: ["/ip"]}}]}]}', "allow-path-ip")
    assert decide([deny, allow], http("GET", "/ip", headers=guest), HTTPBIN) is DENIED
    assert decide([deny, allow], http("GET", "/ip", headers=admin), HTTPBIN) is ALLOWED
    assert decide([deny, allow], http("GET", "/get", headers=admin), HTTPBIN) is DENIED


@pytest.mark.parametrize(("key", "condition"), [("ipBlocks", "source.ip"), ("remoteIpBlocks", "remote.ip")])
def test_the_ingress_task(key: str, condition: str) -> None:
    """Documentation: "allow the IP addresses specified in the `ipBlocks` to access the ingress gateway. IP
    addresses not in the list will be denied. The `ipBlocks` supports both single IP address and CIDR notation."
    """
    gateway = Workload("istio-system", {"app": "istio-ingressgateway"})
    attribute = {"ipBlocks": "ip", "remoteIpBlocks": "remote_ip"}[key]

    def of(action: str, address: str) -> Verdict:
        spec = f'{{action: {action}, rules: [{{from: [{{source: {{{key}: ["1.2.3.4", "5.6.7.0/24"]}}}}]}}]}}'
        found = [policy(spec, "ingress-policy", "istio-system")]
        when = f'{{action: {action}, rules: [{{when: [{{key: {condition}, values: ["1.2.3.4", "5.6.7.0/24"]}}]}}]}}'
        given: dict[str, Any] = {attribute: address}
        asked = http(principal=None, **given)
        verdict = decide(found, asked, gateway)
        assert decide([policy(when, "ingress-policy", "istio-system")], asked, gateway) is verdict
        return verdict

    assert [of("ALLOW", ip) for ip in ("1.2.3.4", "5.6.7.9", "192.168.10.15")] == [ALLOWED, ALLOWED, DENIED]
    assert [of("DENY", ip) for ip in ("1.2.3.4", "5.6.7.9", "192.168.10.15")] == [DENIED, DENIED, ALLOWED]


# --- Security policy examples ----------------------------------------------------------------------------------------

_GATEWAY = "cluster.local/ns/istio-system/sa/istio-ingressgateway-service-account"


@pytest.mark.parametrize(
    ("spec", "own", "other", "gateway", "plain"),
    [
        # "isolate the namespace `foo` from other namespaces"
        ('{action: ALLOW, rules: [{from: [{source: {namespaces: ["foo"]}}]}]}', ALLOWED, DENIED, DENIED, DENIED),
        # "block all traffic from outside the namespace `foo` except the traffic from the ingress gateway"
        (
            f'{{rules: [{{from: [{{source: {{namespaces: ["foo"]}}}}, {{source: {{principals: ["{_GATEWAY}"]}}}}]}}]}}',
            ALLOWED,
            DENIED,
            ALLOWED,
            DENIED,
        ),
        # "enforces mTLS for workloads in the `foo` namespace"
        ('{action: DENY, rules: [{from: [{source: {notPrincipals: ["*"]}}]}]}', ALLOWED, ALLOWED, ALLOWED, DENIED),
        # "enforce namespace isolation except ingress gateway. The policy uses `DENY` action"
        (
            "{action: DENY, rules: [{from: [{source: {"
            f'notNamespaces: ["foo"], notPrincipals: ["{_GATEWAY}"]}}}}]}}]}}',
            ALLOWED,
            DENIED,
            ALLOWED,
            DENIED,
        ),
    ],
)
def test_isolating_a_namespace(spec: str, own: Verdict, other: Verdict, gateway: Verdict, plain: Verdict) -> None:
    callers = ("cluster.local/ns/foo/sa/any", SLEEP, _GATEWAY, None)
    found = tuple(decide([policy(spec)], http(principal=principal), HTTPBIN) for principal in callers)
    assert found == (own, other, gateway, plain)


def test_different_issuers_by_host() -> None:
    """Documentation (reference of RequestAuthentication): "how to set a different JWT requirement for a different
    `host`"
    """
    found = [
        issuers("issuer-foo", "issuer-bar"),
        policy("""
rules:
- from: [{source: {requestPrincipals: ["issuer-foo/*"]}}]
  to: [{operation: {hosts: ["example.com"]}}]
- from: [{source: {requestPrincipals: ["issuer-bar/*"]}}]
  to: [{operation: {hosts: ["another-host.com"]}}]
"""),
    ]
    foo, bar, third = (Token({"iss": name, "sub": "a"}) for name in ("issuer-foo", "issuer-bar", "issuer-third"))
    assert decide(found, http(host="example.com", token=foo), HTTPBIN) is ALLOWED
    assert decide(found, http(host="example.com", token=bar), HTTPBIN) is DENIED
    assert decide(found, http(host="another-host.com", token=bar), HTTPBIN) is ALLOWED
    assert decide(found, http(host="example.com"), HTTPBIN) is DENIED
    assert decide(found, http(host="example.com", token=third), HTTPBIN) is UNAUTHENTICATED


def test_a_request_authentication_in_the_root_namespace_is_for_all_workloads() -> None:
    """Documentation: "The following policy makes all workloads only accept requests that contain a valid JWT token" """
    found = [
        issuers("issuer-foo", namespace="istio-system"),
        policy('{rules: [{from: [{source: {requestPrincipals: ["*"]}}]}]}', "require-jwt-for-all", "istio-system"),
    ]
    assert decide(found, http(), HTTPBIN) is DENIED
    assert decide(found, http(token=Token({"iss": "issuer-foo", "sub": "a"})), HTTPBIN) is ALLOWED


def test_a_token_must_be_for_one_of_the_audiences() -> None:
    """Documentation: "the audience claims must be either `bookstore_android.apps.example.com` or
    `bookstore_web.apps.example.com`"
    """
    rule = {"issuer": "https://example.com", "audiences": ["android", "web"]}
    found = [policy(str({"jwtRules": [rule]}), "jwt", kind="RequestAuthentication")]
    for audience, verdict in (
        ("web", ALLOWED),
        (["web", "x"], ALLOWED),
        ("x", UNAUTHENTICATED),
        (None, UNAUTHENTICATED),
    ):
        token = Token({"iss": "https://example.com", "sub": "a", "aud": audience})
        assert decide(found, http(token=token), HTTPBIN) is verdict


@pytest.mark.parametrize(
    ("condition", "allowed"),
    [
        ("{key: source.namespace, values: [default]}", True),
        ("{key: source.namespace, notValues: [default]}", False),
        ("{key: source.principal, values: ['*/sa/sleep']}", True),
        ("{key: request.auth.principal, values: ['a/b']}", True),
        ("{key: request.auth.principal, values: ['a/c']}", False),
        ("{key: 'request.auth.claims[realm][role]', values: [admin]}", True),
        ("{key: 'request.auth.claims[realm][none]', values: ['*']}", False),
        ("{key: 'request.auth.claims[sub][none]', values: ['*']}", False),
        ("{key: destination.port, values: ['8000']}", True),
        ("{key: destination.port, values: ['80*']}", False),
    ],
)
def test_conditions_ask_for_the_same_as_fields(condition: str, allowed: bool) -> None:
    found = [issuers("a"), policy(f"{{rules: [{{when: [{condition}]}}]}}")]
    token = Token({"iss": "a", "sub": "b", "realm": {"role": ["admin"]}})
    assert (decide(found, http(token=token), HTTPBIN) is ALLOWED) is allowed


# --- Peer authentication ---------------------------------------------------------------------------------------------


def peer(spec: str, namespace: str = "foo") -> Json:
    """A PeerAuthentication."""
    return policy(spec, "default", namespace, "PeerAuthentication")


STRICT, PERMISSIVE = "{mtls: {mode: STRICT}}", "{mtls: {mode: PERMISSIVE}}"
FINANCE = Workload("foo", {"app": "finance"})


@pytest.mark.parametrize(
    ("found", "finance", "other"),
    [
        # "Mesh-wide peer authentication policies with an unset mode use the `PERMISSIVE` mode by default."
        ([], "PERMISSIVE", "PERMISSIVE"),
        ([peer("{}", "istio-system")], "PERMISSIVE", "PERMISSIVE"),
        # "Policy to require mTLS traffic for all workloads under namespace `foo`"
        ([peer(STRICT)], "STRICT", "STRICT"),
        ([peer(STRICT, "bar")], "PERMISSIVE", "PERMISSIVE"),
        # "For mesh level, put the policy in root-namespace"
        ([peer(STRICT, "istio-system")], "STRICT", "STRICT"),
        # "workload-specific, namespace-wide, mesh-wide"
        ([peer(STRICT, "istio-system"), peer(PERMISSIVE)], "PERMISSIVE", "PERMISSIVE"),
        # "allow both mTLS and plaintext traffic for all workloads under namespace `foo`, but require mTLS for workload
        # `finance`"
        (
            [peer(PERMISSIVE), peer("{selector: {matchLabels: {app: finance}}, mtls: {mode: STRICT}}")],
            "STRICT",
            "PERMISSIVE",
        ),
        # "When the mode is unset, the mode of the parent scope is inherited."
        ([peer(STRICT, "istio-system"), peer("{mtls: {mode: UNSET}}")], "STRICT", "STRICT"),
        # "PeerAuthentication policies with workload selectors are ignored when deployed in the root namespace."
        (
            [peer("{selector: {matchLabels: {app: finance}}, mtls: {mode: STRICT}}", "istio-system")],
            "PERMISSIVE",
            "PERMISSIVE",
        ),
    ],
)
def test_the_narrowest_peer_authentication_decides(found: list[Json], finance: str, other: str) -> None:
    assert mutual_tls(found, FINANCE, 80) == finance
    assert mutual_tls(found, Workload("foo", {"app": "other"}), 80) == other


def test_ports_have_modes_of_their_own() -> None:
    """Documentation: "requires strict mTLS for all `finance` workloads, but leaves the port `8080` to plaintext";
    "inherits mTLS mode from namespace (or mesh) settings, and disables mTLS for workload port `8080`"
    """
    selector = "selector: {matchLabels: {app: finance}}"
    strict = [peer(f"{{{selector}, mtls: {{mode: STRICT}}, portLevelMtls: {{8080: {{mode: DISABLE}}}}}}")]
    assert [mutual_tls(strict, FINANCE, port) for port in (8080, 80)] == ["DISABLE", "STRICT"]
    inherits = [peer(STRICT), peer(f"{{{selector}, portLevelMtls: {{'8080': {{mode: DISABLE}}}}}}")]
    assert [mutual_tls(inherits, FINANCE, port) for port in (8080, 80)] == ["DISABLE", "STRICT"]
    assert decide(inherits, http(principal=None, port=8080), FINANCE) is ALLOWED
    assert decide(inherits, http(principal=None, port=80), FINANCE) is PLAIN
    # Without mutual TLS nobody has an identity.
    known = policy('{rules: [{from: [{source: {principals: ["*"]}}]}]}')
    assert decide([*inherits, known], http(port=8080), FINANCE) is DENIED
    assert decide([*inherits, known], http(port=80), FINANCE) is ALLOWED


def test_strict_refuses_plain_text_before_anything_else() -> None:
    """Documentation: "STRICT: Workloads only accept mutual TLS traffic." """
    allow_all = policy("{rules: [{}]}")
    assert decide([peer(STRICT), allow_all], http(principal=None), HTTPBIN) is PLAIN
    assert decide([peer(STRICT), allow_all], Request(9000), HTTPBIN) is PLAIN
    assert decide([peer(STRICT), allow_all], http(), HTTPBIN) is ALLOWED
    assert decide([peer(PERMISSIVE), allow_all], http(principal=None), HTTPBIN) is ALLOWED


def test_two_peer_authentications_of_one_rank_are_refused() -> None:
    with pytest.raises(ValueError, match="two PeerAuthentications"):
        mutual_tls([peer(STRICT), peer(PERMISSIVE)], HTTPBIN, 80)


# --- Ambient ---------------------------------------------------------------------------------------------------------

WAYPOINT = Waypoint("waypoint", "default", "cluster.local/ns/default/sa/waypoint")
BEHIND = Workload("default", {"app": "reviews"}, ambient=True, waypoint=WAYPOINT, service="reviews")


def test_without_a_waypoint_rules_that_read_http_close_the_door() -> None:
    """Documentation: "pods with the label `app: httpbin` only allow traffic from sources with an identity principal
    of `cluster.local/ns/ambient-demo/sa/sleep`"; with a method added: "Even though the identity of the pod is
    otherwise correct, the presence of a L7 policy, and the traffic not originating from a waypoint proxy, causes
    the ztunnel to deny the connection"
    """
    sleep, to = "cluster.local/ns/ambient-demo/sa/sleep", Workload("foo", {"app": "httpbin"}, ambient=True)
    source = f'from: [{{source: {{principals: ["{sleep}"]}}}}]'
    selector = "selector: {matchLabels: {app: httpbin}}, action: ALLOW"
    basic = [policy(f"{{{selector}, rules: [{{{source}}}]}}")]
    assert decide(basic, http(principal=sleep), to) is ALLOWED
    assert decide(basic, http(principal=SLEEP), to) is DENIED
    by_method = [policy(f"{{{selector}, rules: [{{{source}, to: [{{operation: {{methods: ['GET']}}}}]}}]}}")]
    assert decide(by_method, http(principal=sleep), to) is DENIED
    assert decide(by_method, http(principal=sleep), replace(to, ambient=False)) is ALLOWED


def test_disabling_mutual_tls_is_ignored_in_ambient_mode() -> None:
    """Documentation: "it is not possible to use the `DISABLE` mode in a policy. Such policies will be ignored." """
    found = [peer(STRICT, "istio-system"), peer("{mtls: {mode: DISABLE}}")]
    assert mutual_tls(found, replace(HTTPBIN, ambient=True), 80) == "STRICT"
    assert mutual_tls(found, HTTPBIN, 80) == "DISABLE"


VIEWER = policy(
    """
targetRefs:
- kind: Gateway
  group: gateway.networking.k8s.io
  name: waypoint
action: ALLOW
rules:
- from:
  - source:
      namespaces: ["default", "istio-system"]
  to:
  - operation:
      methods: ["GET"]
""",
    "viewer",
    "default",
)


def test_a_policy_attached_to_a_waypoint_sees_the_client_and_http() -> None:
    """Documentation: "apply an `AuthorizationPolicy` policy to the waypoint named `waypoint` for the `default`
    namespace"
    """
    assert decide([VIEWER], http("GET"), BEHIND) is ALLOWED
    assert decide([VIEWER], http("POST"), BEHIND) is DENIED
    assert decide([VIEWER], http("GET", principal="cluster.local/ns/foo/sa/sleep"), BEHIND) is DENIED
    # Around the waypoint, and at another one, the policy does not exist.
    assert decide([VIEWER], http("POST"), replace(BEHIND, waypoint=None)) is ALLOWED
    assert decide([VIEWER], http("POST"), replace(BEHIND, waypoint=replace(WAYPOINT, name="other"))) is ALLOWED
    assert decide([{**VIEWER, "metadata": {"name": "v", "namespace": "foo"}}], http("POST"), BEHIND) is ALLOWED


def test_a_policy_attached_to_a_service_is_for_that_service() -> None:
    spec = "{targetRefs: [{kind: Service, group: '', name: reviews}], rules: [{to: [{operation: {methods: [GET]}}]}]}"
    found = [policy(spec, "reviews", "default")]
    assert decide(found, http("GET"), BEHIND) is ALLOWED
    assert decide(found, http("POST"), BEHIND) is DENIED
    assert decide(found, http("POST"), replace(BEHIND, service="ratings")) is ALLOWED


def test_behind_a_waypoint_the_workload_sees_the_waypoint_as_its_caller() -> None:
    """Documentation: "Traffic arriving at the destination ztunnel will be coming from the waypoint's identity
    because waypoint proxies do not impersonate `src` identity on behalf of the client."; "in-mesh traffic needs to
    come from my waypoint in order to reach my application"
    """
    spec = "{selector: {matchLabels: {app: reviews}}, rules: [{from: [{source: {principals: [WHO]}}]}]}"
    from_client = policy(spec.replace("WHO", SLEEP), "client", "default")
    from_waypoint = policy(spec.replace("WHO", WAYPOINT.principal), "waypoint", "default")
    assert decide([from_client], http(), BEHIND) is DENIED
    assert decide([from_waypoint], http(), BEHIND) is ALLOWED
    assert decide([from_waypoint], http(), replace(BEHIND, waypoint=None)) is DENIED, "around the waypoint"
    assert decide([from_waypoint, VIEWER], http("POST"), BEHIND) is DENIED
    assert decide([from_waypoint], http(principal=None), BEHIND) is PLAIN


def test_request_authentication_of_a_waypoint_is_attached_to_it() -> None:
    """Documentation: "`RequestAuthentication` [...] `targetRefs`" """
    attached = {**issuers("a"), "metadata": {"name": "jwt", "namespace": "default"}}
    attached["spec"] = {**attached["spec"], "targetRefs": VIEWER["spec"]["targetRefs"]}
    assert decide([attached], http(token=Token({"iss": "b"})), BEHIND) is UNAUTHENTICATED
    assert decide([issuers("a", namespace="default")], http(token=Token({"iss": "b"})), BEHIND) is ALLOWED


# --- What is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spec",
    [
        "{action: CUSTOM, provider: {name: x}, rules: [{}]}",
        "{rules: [{form: []}]}",
        "{rules: [{from: [{source: {hosts: [example.com]}}]}]}",
        "{rules: [{}, {to: [{operation: {path: [/]}}]}]}",
        "{rules: [{when: [{key: request.auth.claims, values: [x]}]}]}",
        "{rules: [{when: [{key: source.nothing, values: [x]}]}]}",
    ],
)
def test_what_the_evaluator_does_not_know_is_never_guessed(spec: str) -> None:
    with pytest.raises((ValueError, KeyError)):
        decide([policy(spec)], http(), HTTPBIN)
