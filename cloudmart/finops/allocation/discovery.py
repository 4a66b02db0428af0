"""Finds the Allocation API of a cluster by the names and ports that its charts give their Services."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cloudmart.errors import UserError
from cloudmart.finops.allocation.client import TIME_LIMIT, Client, Kind, Runner, ServiceProxy
from cloudmart.settings.source import parse_json

_KUBECOST_PORT = 9090
_OPENCOST_PORT = 9003


@dataclass(frozen=True, order=True)
class Found:
    """A Service that serves the API."""

    rank: int
    namespace: str
    name: str
    port: int
    kind: Kind

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}:{self.port}"


def discover(kubectl: Runner, service: str | None = None, *, time_limit: float = TIME_LIMIT) -> Client:
    """A client of the cluster's API; of `service` (``NAMESPACE/NAME`` or ``NAMESPACE/NAME:PORT``) where it is given.

    Where a cluster has several, Kubecost 3.x comes before 2.x and OpenCost. Raises :class:`UserError` where it has
    none, or two of the same kind.
    """
    one = _given(service) if service else _only(_services(kubectl))
    return Client(ServiceProxy(kubectl, one.namespace, one.name, one.port), (one.kind,), time_limit)


def _services(kubectl: Runner) -> list[Found]:
    text = kubectl.run("get", "services", "--all-namespaces", "-o", "json", timeout=30)
    try:
        items = parse_json(text.encode("utf-8", "replace"), "kubectl get services")["items"]
        return sorted(found for item in items if (found := _recognized(item)) is not None)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError("kubectl get services: its answer is no list of Services") from None


def _recognized(service: Mapping[str, Any]) -> Found | None:
    metadata, spec = service["metadata"], service.get("spec") or {}
    name, labels = str(metadata["name"]), metadata.get("labels") or {}
    ports = {port.get("port") for port in spec.get("ports") or []}
    namespace = str(metadata["namespace"])
    # Any shop may have a Service `web-frontend` at 9090: the chart's label decides, or the release's usual name.
    if name.endswith("-frontend") and _KUBECOST_PORT in ports:
        chart = str(labels.get("helm.sh/chart") or "")
        if name == "kubecost-frontend" or labels.get("app") == "kubecost" or re.match(r"kubecost-\d", chart):
            return Found(0, namespace, name, _KUBECOST_PORT, Kind.KUBECOST_3)
    if name.endswith("cost-analyzer") and _KUBECOST_PORT in ports:
        return Found(1, namespace, name, _KUBECOST_PORT, Kind.KUBECOST_2)
    if name == "opencost" and _OPENCOST_PORT in ports:
        return Found(2, namespace, name, _OPENCOST_PORT, Kind.OPENCOST)
    return None


def _only(found: list[Found]) -> Found:
    if not found:
        raise UserError(
            "no Allocation API in this cluster: found no Service <release>-frontend:9090 of Kubecost 3.x, "
            "kubecost-cost-analyzer:9090 of 2.x or opencost:9003; allowed: --service NAMESPACE/NAME:PORT or --url"
        )
    same = [str(one) for one in found if one.rank == found[0].rank]
    if len(same) > 1:
        raise UserError(f"several Services of {found[0].kind}: {', '.join(same)}; say which with --service")
    return found[0]


def _given(text: str) -> Found:
    matched = re.fullmatch(r"([a-z0-9-]{1,63})/([a-z0-9-]{1,63})(?::([0-9]{1,5}))?", text)
    if matched is None:
        raise UserError(f"service: found {text!r}; allowed: NAMESPACE/NAME or NAMESPACE/NAME:PORT")
    namespace, name, port = matched.groups()
    if "opencost" in name or port == str(_OPENCOST_PORT):
        return Found(2, namespace, name, int(port or _OPENCOST_PORT), Kind.OPENCOST)
    kind = Kind.KUBECOST_2 if name.endswith("cost-analyzer") else Kind.KUBECOST_3
    return Found(0, namespace, name, int(port or _KUBECOST_PORT), kind)
