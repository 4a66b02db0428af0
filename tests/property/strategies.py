"""Hypothesis strategies for catalogs that are valid, and for the ways in which one file of a project can be broken."""

from __future__ import annotations

import string
from typing import Any

from hypothesis import strategies as st

STORES = ("postgres", "redis", "kafka")
#: Names that look like those of other objects, and names at the edges of the grammar.
ODD_NAMES = [
    "a",
    "cloudmart",
    "web-config",
    "web-hpa",
    "web-pdb",
    "web-placeholder",
    "kube-dns",
    "s" * 40,
    "a-" * 19 + "z1",
]
#: Names that objects of the namespace or of a store have.
TAKEN = {
    *STORES,
    "default",
    "default-deny",
    "allow-dns",
    *(f"{s}-{o}" for s in STORES for o in ("service", "headless")),
}

names = st.one_of(st.from_regex(r"\A[a-z][a-z0-9]{0,6}(-[a-z0-9]{1,6}){0,2}\Z"), st.sampled_from(ODD_NAMES)).filter(
    lambda name: name not in TAKEN
)
label_values = st.from_regex(r"\A[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?\Z")
env_names = st.from_regex(r"\A[A-Za-z_][A-Za-z0-9_]{0,20}\Z")
#: Whatever YAML can carry; the files are written by a YAML library, which quotes.
texts = st.text(
    alphabet=st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Cn", "Zl", "Zp")), min_size=1, max_size=40
)
paths = st.from_regex(r"\A/[A-Za-z0-9/_.~-]{0,30}\Z")


def cpu(millicores: int) -> str | int | float:
    return f"{millicores}m" if millicores % 100 else millicores / 1000 if millicores % 1000 else millicores // 1000


def memory(mebibytes: int) -> str:
    return f"{mebibytes // 1024}Gi" if mebibytes % 1024 == 0 else f"{mebibytes}Mi"


@st.composite
def resources(draw: st.DrawFn, least_mib: int = 1) -> dict[str, Any]:
    """Requests and limits within the ratios that the pack allows in production: 5 for CPU, 2 for memory."""
    millicores = draw(st.integers(1, 4000))
    mebibytes = draw(st.integers(least_mib, 8192))
    return {
        "requests": {"cpu": cpu(millicores), "memory": memory(mebibytes)},
        "limits": {
            "cpu": cpu(draw(st.integers(millicores, 5 * millicores))),
            "memory": memory(draw(st.integers(mebibytes, 2 * mebibytes))),
        },
    }


@st.composite
def images(draw: st.DrawFn, registry: str = "docker.io/library") -> dict[str, Any]:
    name = draw(st.from_regex(r"\A[a-z0-9]{1,20}\Z"))
    image: dict[str, Any] = {"repository": f"{registry}/{name}"}
    pinned = draw(st.sampled_from(["tag", "digest", "both"]))
    if pinned != "digest":
        image["tag"] = draw(st.from_regex(r"\A[0-9]{1,3}\.[0-9]{1,3}\Z"))
    if pinned != "tag":
        image["digest"] = "sha256:" + draw(st.text(alphabet="0123456789abcdef", min_size=64, max_size=64))
    if draw(st.booleans()):
        image["pullSecrets"] = draw(st.lists(st.from_regex(r"\A[a-z0-9]{1,12}\Z"), max_size=2, unique=True))
    return image


@st.composite
def scaling(draw: st.DrawFn) -> dict[str, Any]:
    lowest = draw(st.integers(1, 20))
    # One bound only would leave the autoscaler nothing to do, which is allowed.
    found: dict[str, Any] = {"min": lowest, "max": draw(st.integers(lowest, 60))}
    targets = draw(st.sampled_from([("cpu",), ("memory",), ("cpu", "memory")]))
    # The bounds of the pack: a lower target pays for idle replicas, a higher one leaves no room while pods start.
    found |= {target: draw(st.integers(50, 85)) for target in targets}
    for direction in ("scaleUp", "scaleDown"):
        if draw(st.booleans()):
            found[direction] = {
                "windowSeconds": draw(st.integers(0, 3600)),
                "percent": draw(st.integers(1, 1000)),
                "periodSeconds": draw(st.integers(1, 1800)),
            }
    return found


@st.composite
def probes(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "path": draw(paths),
        "initialDelaySeconds": draw(st.integers(0, 600)),
        "periodSeconds": draw(st.integers(1, 600)),
        "timeoutSeconds": draw(st.integers(1, 60)),
        "failureThreshold": draw(st.integers(1, 30)),
    }


cidrs = st.one_of(
    st.ip_addresses(v=4).map(lambda a: f"{a}/32"),
    st.ip_addresses(v=6).map(lambda a: f"{a}/128"),
    st.sampled_from(["10.0.0.0/8", "0.0.0.0/0", "2001:db8::/32"]),
)
hosts = st.from_regex(r"\A[a-z0-9]{1,10}(\.[a-z0-9]{1,10}){1,2}\Z")


@st.composite
def stores(draw: st.DrawFn, name: str, codes: list[str]) -> dict[str, Any]:
    store: dict[str, Any] = {}
    if draw(st.booleans()):
        store["mode"] = "external"
        store["external"] = {"host": draw(hosts), "cidrs": draw(st.lists(cidrs, min_size=1, max_size=3, unique=True))}
        if draw(st.booleans()):
            store["external"]["port"] = draw(st.integers(1, 65535))
    elif draw(st.booleans()):
        least = {"postgres": 256, "redis": 64, "kafka": 768}[name]
        store["resources"] = draw(resources(least))
        store["storage"] = {"size": memory(draw(st.integers(1, 4096)))}
        store["exporter"] = {"enabled": draw(st.booleans())}
        store["protect"] = draw(st.booleans())
    if draw(st.booleans()):
        store["costCenter"] = draw(st.sampled_from(codes))
    return store


@st.composite
def services(draw: st.DrawFn, targets: list[str], codes: list[str]) -> dict[str, Any]:
    service: dict[str, Any] = {
        "description": draw(texts),
        "criticality": draw(st.sampled_from(["critical", "high", "standard", "low"])),
        "traffic": draw(st.sampled_from(["steady", "high", "bursts", "low"])),
        "replicas": draw(st.integers(1, 20)),
        "resources": draw(resources()),
    }
    if draw(st.booleans()):
        service["autoscaling"] = draw(scaling())
        bounds = service["autoscaling"]
        service["replicas"] = draw(st.integers(bounds["min"], bounds["max"]))
    if targets:
        service["needs"] = draw(st.lists(st.sampled_from(targets), unique=True, max_size=5))
    if draw(st.booleans()):
        service["env"] = draw(st.dictionaries(env_names, texts, max_size=4))
    if draw(st.booleans()):
        secret = st.fixed_dictionaries({"name": st.from_regex(r"\A[a-z0-9]{1,12}\Z"), "key": st.just("token")})
        taken = service.get("env", {})
        # Names that wiring gives to variables too: the declared one must not stand beside the derived one.
        keys = st.one_of(env_names, st.sampled_from(["SERVICE_NAME", "DB_HOST", "DB_PASSWORD", "REDIS_HOST"]))
        service["secretEnv"] = draw(st.dictionaries(keys.filter(lambda key: key not in taken), secret, max_size=3))
    if draw(st.booleans()):
        service["image"] = draw(images())
    if draw(st.booleans()):
        service["costCenter"] = draw(st.sampled_from(codes))
        service["team"] = draw(label_values)
        service["version"] = draw(label_values)
        service["tier"] = draw(label_values)
    if draw(st.booleans()):
        service["containerPort"] = draw(st.integers(1024, 65535))
        service["liveness"], service["readiness"] = draw(probes()), draw(probes())
    if draw(st.booleans()):
        service["terminationGraceSeconds"] = draw(st.integers(1, 600))
        service["minReadySeconds"] = draw(st.integers(0, 240))
        service["preStopSeconds"] = draw(st.integers(0, service["terminationGraceSeconds"] - 1))
    return service


@st.composite
def catalogs(draw: st.DrawFn, namespace: str | None = None) -> dict[str, Any]:
    """A whole catalog that loads, and that production's policies accept."""
    codes = draw(st.lists(label_values, min_size=1, max_size=3, unique=True))
    data = {store: draw(stores(store, codes)) for store in STORES if draw(st.booleans())}
    every = draw(st.lists(names, min_size=1, max_size=11, unique=True))
    cut = min(8, draw(st.integers(1, len(every))))
    shop, outside = every[:cut], every[cut:]
    externals = {
        name: {"description": draw(texts), "host": draw(hosts), "port": draw(st.integers(1, 65535))}
        | ({"cidrs": draw(st.lists(cidrs, max_size=3, unique=True))} if draw(st.booleans()) else {})
        | ({"scheme": "http"} if draw(st.booleans()) else {})
        for name in outside
    }
    return {
        "project": draw(st.from_regex(r"\A[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?\Z")),
        "cluster": {"kubernetesVersion": "1.36"},
        "namespace": {
            "name": namespace
            or draw(st.from_regex(r"\A[a-z][a-z0-9]{0,20}\Z").filter(lambda name: name != "kubecost")),
            "team": draw(label_values),
            "costCenter": draw(st.sampled_from(codes)),
            "headroom": {"cpuPercent": draw(st.integers(0, 100)), "memoryPercent": draw(st.integers(0, 100))},
        },
        "costCenters": {code: {"name": draw(texts), "owner": draw(label_values)} for code in codes},
        "placeholderImage": draw(images("docker.io/nginxinc")),
        # Each needs only what stands before it: no cycle.
        "services": {
            name: draw(services([*shop[:index], *data, *externals], codes)) for index, name in enumerate(shop)
        },
        "externals": externals,
        "data": data,
        "kubecost": {"enabled": draw(st.booleans())},
    }


#: Any single byte, and those that mean something in YAML more often.
bytes_ = st.one_of(
    st.integers(0, 255), st.sampled_from(sorted({ord(c) for c in ":{}[]#&*!|>'\"%@`,?- \n\t\\"} | {0, 255}))
)
words = st.one_of(st.text(alphabet=string.ascii_lowercase, min_size=1, max_size=12), texts)
