"""What services used, for the right-sizing: from Prometheus, in steps of minutes, with single pods' peaks and kills.

Reads cAdvisor's and kube-state-metrics' series, as kube-prometheus-stack and most others keep them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

import requests

from cloudmart.errors import UserError
from cloudmart.finops import http
from cloudmart.finops.rightsize import Sample, Usage
from cloudmart.settings.source import parse_json, shown

_T = TypeVar("_T")

#: Of Prometheus' 11,000 points a series.
_MOST_POINTS = 5000
_LEAST_STEP = 60
#: Bytes of an answer; 200 services have some 30 MiB.
_LARGEST = 64 << 20
#: Of anything that is measured here: more than any cluster has.
_MOST = 1e18

# A Deployment's pods are called <deployment>-<hash of the template>-<five letters>; its name is the service's here.
_SERVICE = 'label_replace({0}, "service", "$1", "pod", "(.+)-[a-z0-9]+-[a-z0-9]{{5}}")'
_CPU = "sum by (pod) (rate(container_cpu_usage_seconds_total{{{where}}}[{rate}s]))"
_MEMORY = "sum by (pod) (container_memory_working_set_bytes{{{where}}})"
_KILLED = 'max_over_time(kube_pod_container_status_last_terminated_reason{{{where},reason="OOMKilled"}}[{window}s]) > 0'
_LIMIT = 'max_over_time(kube_pod_container_resource_limits{{{where},resource="memory"}}[{window}s])'


def usage(
    url: str,
    namespace: str,
    services: Collection[str],
    *,
    minutes: float,
    now: float | None = None,
    timeout: float = 60,
) -> list[Usage]:
    """Use of each service over the last `minutes`. Raises ``UserError`` when Prometheus cannot be asked."""
    api = _Api(url, timeout)
    end = now if now is not None else time.time()
    step = max(_LEAST_STEP, math.ceil(minutes * 60 / _MOST_POINTS / 60) * 60)
    where = f'namespace="{namespace}",container!="",container!="POD"'
    # Four scrapes of half a minute: a rate over less has holes.
    cpu = _SERVICE.format(_CPU.format(where=where, rate=max(step, 120)))
    memory = _SERVICE.format(_MEMORY.format(where=where))
    start = end - minutes * 60

    def of(query: str) -> dict[str, dict[float, float]]:
        return api.range(query, start, end, step)

    total, peak = of(f"sum by (service) ({cpu})"), of(f"max by (service) ({cpu})")
    size, largest = of(f"sum by (service) ({memory})"), of(f"max by (service) ({memory})")
    pods = of(f"count by (service) ({memory})")
    window = math.ceil(minutes * 60)
    killed = _KILLED.format(where=where, window=window)
    kills = api.instant(f"count by (service) ({_SERVICE.format(killed)})", end)
    limit = _LIMIT.format(where=where, window=window)
    at = _SERVICE.format(f"({limit} and on (namespace, pod, container) ({killed}))")
    limits = api.instant(f"max by (service) ({at})", end)
    found = []
    for name in services:
        samples = tuple(
            Sample(
                minutes=step / 60,
                replicas=count,
                cpu=total[name][at_],
                memory=size[name][at_],
                peak_cpu=peak[name][at_],
                peak_memory=largest[name][at_],
            )
            for at_, count in sorted(pods.get(name, {}).items())
            if at_ in total.get(name, {}) and at_ in size.get(name, {})
        )
        found.append(
            Usage(
                service=name,
                samples=samples,
                source="Prometheus",
                oom_kills=int(kills.get(name, 0)),
                oom_memory=limits.get(name, 0),
            )
        )
    return found


class _Api:
    """Prometheus' HTTP API, version 1."""

    def __init__(self, url: str, timeout: float) -> None:
        if http.host_of(url) is None:
            raise UserError(f"--prometheus: found {shown(url)}; allowed: http://HOST:PORT or https://…")
        self._url, self._timeout, self._session = url.rstrip("/"), timeout, requests.Session()

    def range(self, query: str, start: float, end: float, step: float) -> dict[str, dict[float, float]]:
        parameters = {"query": query, "start": f"{start:.0f}", "end": f"{end:.0f}", "step": f"{step:.0f}"}
        return self._read("query_range", parameters, lambda series: dict(_points(series["values"])))

    def instant(self, query: str, at: float) -> dict[str, float]:
        found = self._read("query", {"query": query, "time": f"{at:.0f}"}, lambda series: _points([series["value"]]))
        return {service: points[0][1] for service, points in found.items() if points}

    def _read(self, path: str, parameters: Mapping[str, str], read: Callable[[Any], _T]) -> dict[str, _T]:
        """What `read` makes of each series, by service."""
        try:
            result = self._ask(path, parameters)["data"]["result"]
            return {str(series["metric"].get("service", "")): read(series) for series in result}
        except (LookupError, TypeError, ValueError, AttributeError):
            raise UserError(f"{self._url}: answers with something that is no series of Prometheus") from None

    def _ask(self, path: str, parameters: Mapping[str, str]) -> Any:
        url = f"{self._url}/api/v1/{path}"
        try:
            # POST: queries are longer than some proxies let a URL be.
            found = http.fetch(self._session, "POST", url, data=parameters, timeout=self._timeout, most=_LARGEST)
        except http.TooLargeError:
            raise UserError(f"{self._url}: the answer has more than {_LARGEST >> 20} MiB; ask for less time") from None
        except http.RedirectedError as error:
            raise UserError(f"{self._url}: redirects to {shown(str(error))}; allowed: its own address") from None
        except (requests.RequestException, TimeoutError, ValueError) as error:
            raise UserError(f"{self._url}: cannot be reached ({type(error).__name__})") from None
        try:
            answer = parse_json(found.body, self._url)
        except UserError:
            raise UserError(f"{self._url}: answers with HTTP {found.status} and no JSON") from None
        if not isinstance(answer, dict) or answer.get("status") != "success":
            said = answer.get("error") if isinstance(answer, dict) else None
            raise UserError(f"{self._url}: answers with an error (HTTP {found.status}: {str(said)[:300]})")
        return answer


def _points(values: Any) -> list[tuple[float, float]]:
    """Time and value of those that can be: a rate may be NaN, and what is used is never negative."""
    found = [(float(at), float(value)) for at, value in values]
    return [(at, value) for at, value in found if math.isfinite(at) and 0 <= value <= _MOST]
