"""Values of Kong's chart ``ingress``, and the rules of the HTTPRoutes: pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cloudmart.settings import Service
from cloudmart.settings.gateway import GatewaySettings, ServiceType
from cloudmart.settings.layer import Workload
from cloudmart.settings.service import HttpMethod, Route
from components.labels import cost_labels
from components.layer import resources

#: Name of the release; the chart builds the names of its objects from it.
RELEASE = "kong"
#: Labels of the controller's pods. Those of the proxy's are in the settings: policies elsewhere name them too.
CONTROLLER_LABELS = {"app.kubernetes.io/name": "controller", "app.kubernetes.io/instance": RELEASE}

HTTP_PORT, HTTPS_PORT = 80, 443
#: Ports of the chart's containers.
PROXY_HTTP_PORT, PROXY_HTTPS_PORT = 8000, 8443
ADMIN_PORT = 8444
WEBHOOK_PORT = 8080

# The init container removes one file.
_INIT = {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"cpu": "100m", "memory": "128Mi"}}


def kong_values(
    settings: GatewaySettings, *, home: str, labels: Mapping[str, str], priority_class: Any
) -> dict[str, Any]:
    """Values of chart ``ingress``. `home` is the shop's namespace, `priority_class` a name (or an Output of one)."""
    https = settings.tls is not None
    balanced = settings.service.type is ServiceType.LOAD_BALANCER
    return {
        "controller": {
            **_deployment(settings.controller, CONTROLLER_LABELS, labels, priority_class),
            "ingressController": {
                "resources": resources(settings.controller),
                # Its rights end at these namespaces; it may read Secrets, and by default those of the whole cluster.
                "watchNamespaces": [home, settings.namespace],
                "createIngressClass": False,
                "env": {
                    "anonymous_reports": "false",
                    # An Ingress that somebody makes must not open a way past the declared routes.
                    "enable_controller_ingress_networkingv1": "false",
                },
                "admissionWebhook": {
                    "enabled": settings.webhook,
                    "timeoutSeconds": 5,
                    "namespaceSelector": {
                        "matchExpressions": [
                            {
                                "key": "kubernetes.io/metadata.name",
                                "operator": "In",
                                "values": [home, settings.namespace],
                            }
                        ]
                    },
                },
            },
        },
        "gateway": {
            **_deployment(settings.proxy, settings.pod_labels, labels, priority_class),
            "resources": resources(settings.proxy),
            "initContainerResources": _INIT,
            "env": {
                # The chart's `traditional` prefers a route with a method to one with a longer path; this one keeps to
                # the Gateway API's order. Which of two routes wins decides whether a token is asked for.
                "router_flavor": "expressions",
                "anonymous_reports": "off",
                # Neither versions nor latencies of the inside in answers.
                "headers": "off",
            },
            "proxy": {
                "type": settings.service.type.value,
                "annotations": dict(settings.service.annotations),
                # Else a client's address is replaced by a node's, and rate limits count nodes.
                **({"externalTrafficPolicy": "Local"} if balanced else {}),
                "http": {"enabled": not https},
                "tls": {"enabled": https},
            },
            # A user interface for the Admin API, which the routes of this project never use.
            "manager": {"enabled": False},
        },
    }


def _deployment(
    workload: Workload, selector: Mapping[str, str], labels: Mapping[str, str], priority_class: Any
) -> dict[str, Any]:
    """What both of the chart's Deployments have in common."""
    return {
        "replicaCount": workload.replicas,
        "extraLabels": cost_labels(labels),
        "priorityClassName": priority_class,
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": key,
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": dict(selector)},
                "matchLabelKeys": ["pod-template-hash"],
            }
            for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
        ],
        # The chart refuses a budget for a single pod.
        "podDisruptionBudget": {"enabled": True, "maxUnavailable": 1, "unhealthyPodEvictionPolicy": "AlwaysAllow"}
        if workload.replicas > 1
        else {"enabled": False},
    }


def proxy_port(settings: GatewaySettings) -> int:
    """The one port at which the proxy's pods take requests."""
    return PROXY_HTTP_PORT if settings.tls is None else PROXY_HTTPS_PORT


def methods(
    services: Mapping[str, Service], *, preflights: bool
) -> dict[str, list[tuple[Route, Sequence[HttpMethod]]]]:
    """Each routed service's routes with the methods that they match; all methods where there are none.

    With `preflights`, the first route of every path takes OPTIONS as well, unless a route names it: the plugin that
    answers a browser's preflight request runs only where a route matches.
    """
    taken = {
        route.path
        for service in services.values()
        for route in service.routes
        if not route.methods or HttpMethod.OPTIONS in route.methods
    }
    found: dict[str, list[tuple[Route, Sequence[HttpMethod]]]] = {}
    for name, service in services.items():
        for route in service.routes:
            more = [HttpMethod.OPTIONS] if preflights and route.path not in taken else []
            taken.add(route.path)
            found.setdefault(name, []).append((route, [*route.methods, *more]))
    return found
