"""Asks the Allocation API: page by page, again where that may help, and never for longer than was allowed."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NoReturn, Protocol
from urllib.parse import quote, urlencode

import requests

from cloudmart.errors import UserError, meant
from cloudmart.finops import http
from cloudmart.finops.allocation import answer
from cloudmart.finops.allocation.answer import Allocation
from cloudmart.finops.allocation.windows import DAY, HOUR, MINUTE, Window
from cloudmart.settings.source import shown

#: What an answer may be aggregated by, besides ``label:<name>``.
FIELDS = ("cluster", "node", "namespace", "controllerKind", "controller", "pod", "container", "service")

#: Seconds for one page, attempts and the waits between them included.
TIME_LIMIT = 60.0
#: The largest body that is read. A day of 10,000 pods has some 40 MB.
LARGEST_BODY = 64 * 2**20

_ATTEMPTS = 4
_FIRST_WAIT = 0.5
_LONGEST_WAIT = 10.0
_NOT_READY = (502, 503, 504)
_AGAIN = (429, 500, *_NOT_READY)
# Long ago, so that the answer costs the server nothing.
_PROBE = "window=2020-01-01T00:00:00Z,2020-01-01T00:01:00Z&aggregate=cluster"
# Kubecost remembers hours for two days (`retention.hours` of its settings), and days beyond.
_HOURLY = 48 * HOUR


class Kind(StrEnum):
    """Which of the APIs this is. They differ in the path, in names of parameters, and in how finely they know time."""

    KUBECOST_3 = "Kubecost 3.x"
    KUBECOST_2 = "Kubecost 2.x"
    KUBECOST = "Kubecost"
    OPENCOST = "OpenCost"

    @property
    def path(self) -> str:
        return "/allocation" if self is Kind.OPENCOST else "/model/allocation"

    def grain(self, length: timedelta) -> timedelta:
        """The finest time that a window of this length can start and end at."""
        if self is Kind.OPENCOST:
            return MINUTE
        return HOUR if length <= _HOURLY else DAY


@dataclass(frozen=True)
class Answer:
    """One HTTP answer. ``retry_after`` in seconds, where the server asks for it."""

    status: int
    body: bytes | str
    retry_after: float | None = None


class UnreachableError(UserError):
    """Nobody answered."""


class Transport(Protocol):
    """Gets a path of the API. Raises ``UnreachableError``."""

    @property
    def where(self) -> str:
        """Names the other side in messages."""

    def get(self, path: str, timeout: float) -> Answer:
        """One attempt, within `timeout` seconds."""


class Runner(Protocol):
    """What is needed of ``cloudmart.cluster.kubectl.Kubectl``."""

    def run(self, *args: str, timeout: float = ...) -> str:
        """Standard output; ``UserError`` with what it said when it fails."""


@dataclass(frozen=True)
class Http:
    """An address that can be reached from here."""

    url: str
    session: requests.Session = field(default_factory=requests.Session)

    def __post_init__(self) -> None:
        if http.host_of(self.url) is None:
            found = shown(_without_password(self.url))
            raise UserError(f"url: found {found}; allowed: http://HOST:PORT or https://…, without ? and #")

    @property
    def where(self) -> str:
        return _without_password(self.url)

    def get(self, path: str, timeout: float) -> Answer:
        try:
            found = http.fetch(self.session, "GET", self.url.rstrip("/") + path, timeout=timeout, most=LARGEST_BODY)
        except http.TooLargeError:
            raise UserError(
                f"{self.where}: the answer has more than {LARGEST_BODY // 2**20} MiB; ask for fewer pods with a filter"
            ) from None
        except http.RedirectedError as error:
            raise UserError(
                f"{self.where}: redirects to {shown(str(error))}; allowed: the address of the API itself"
            ) from None
        except (TimeoutError, requests.Timeout):
            raise UnreachableError(f"{self.where}: no whole answer within {timeout:.0f} s") from None
        except (requests.RequestException, ValueError) as error:
            raise UnreachableError(f"{self.where}: cannot be reached ({_reason(error)})") from None
        wait = found.headers.get("retry-after", "")
        return Answer(found.status, found.body, float(wait) if re.fullmatch("[0-9]{1,9}", wait) else None)


@dataclass(frozen=True)
class ServiceProxy:
    """A Service behind the API server's proxy: needs no port-forward, only the right to `get services/proxy`."""

    kubectl: Runner
    namespace: str
    service: str
    port: int

    @property
    def where(self) -> str:
        return f"service {self.namespace}/{self.service}:{self.port}"

    def get(self, path: str, timeout: float) -> Answer:
        raw = f"/api/v1/namespaces/{self.namespace}/services/{self.service}:{self.port}/proxy{path}"
        try:
            body = self.kubectl.run("get", "--raw", raw, timeout=timeout)
        except UserError as error:
            said = str(error).removeprefix("kubectl get: ")
            if "unknown" in said:
                said += "; kubectl does not pass on what it says: a port-forward and --url show it"
            for reason, status in _REASONS.items():
                if f"({reason})" in said:
                    return Answer(status, said.removeprefix(f"Error from server ({reason}): "))
            raise UnreachableError(f"{self.where}: {error}") from None
        return Answer(200, body)


# How kubectl tells the status of an answer.
_REASONS = {
    "BadRequest": 400,
    "Unauthorized": 401,
    "Forbidden": 403,
    "NotFound": 404,
    "TooManyRequests": 429,
    "InternalError": 500,
    "BadGateway": 502,
    "ServiceUnavailable": 503,
    "Timeout": 504,
}


@dataclass(frozen=True, kw_only=True)
class Query:
    """What to ask for. ``filters`` are alternatives by field; all fields must fit. ``step`` is the longest page."""

    window: Window
    aggregate: Sequence[str]
    filters: Mapping[str, Sequence[str]] = field(default_factory=dict)
    idle: bool = False
    step: timedelta = DAY

    def __post_init__(self) -> None:
        if not self.aggregate:
            raise UserError("aggregate: found nothing; allowed: at least one field")
        for name in (*self.aggregate, *self.filters):
            if name not in FIELDS and not re.fullmatch(r"label:[A-Za-z0-9_.\-/]{1,317}", name):
                allowed = f"{', '.join(FIELDS)}, label:<name>"
                raise UserError(f"aggregate: found {name!r}{meant(name, FIELDS)}; allowed: {allowed}")
        for name, values in self.filters.items():
            for value in values:
                if not re.fullmatch(r"[A-Za-z0-9_.:\-]*", value):
                    raise UserError(f"filter {name}: found {value!r}; allowed: letters, digits and _ . : -")

    @property
    def fields(self) -> tuple[str, ...]:
        """The aggregation as it is sent: labels with underscores, as the API stores them; filters' fields last."""
        return tuple(dict.fromkeys(map(sanitized, (*self.aggregate, *self.filters))))


@dataclass(frozen=True, slots=True)
class Page:
    """The allocations of one step. ``covered`` is how many of its minutes there is data for."""

    window: Window
    allocations: Sequence[Allocation]
    covered: float


@dataclass
class Client:
    """One API. ``kinds`` are those that it may be; the first answer decides."""

    transport: Transport
    kinds: Sequence[Kind]
    time_limit: float = TIME_LIMIT
    sleep: Callable[[float], None] = time.sleep

    @classmethod
    def at(cls, url: str, *, time_limit: float = TIME_LIMIT) -> Client:
        """The API at an address: of the server, of Kubecost's ``/model``, or of the API itself. Asks nothing yet."""
        base = url.rstrip("/")
        kinds: Sequence[Kind] = (Kind.KUBECOST, Kind.OPENCOST)
        if base.endswith(("/model", "/model/allocation")):
            kinds = (Kind.KUBECOST,)
            base = base.removesuffix("/allocation").removesuffix("/model")
        elif base.endswith("/allocation"):
            kinds = (Kind.OPENCOST,)
            base = base.removesuffix("/allocation")
        return cls(Http(base), kinds, time_limit)

    @property
    def kind(self) -> Kind:
        """Which API this is. Asks it where an address does not say."""
        if len(self.kinds) > 1:
            # Kubecost serves a page at every path that it does not know, so its own path is tried first. An address
            # that nobody answers at is not a reason to try the next path.
            refused = []
            for kind in self.kinds:
                found = self._ask(f"{kind.path}?{_PROBE}")
                body = found.body[:1] if isinstance(found.body, str) else found.body[:1].decode("latin-1")
                if found.status != 404 and body != "<":
                    self.kinds = (kind,)
                    break
                refused.append(kind.path)
            else:
                raise UserError(f"{self.transport.where}: no Allocation API at {' or '.join(refused)}")
        return self.kinds[0]

    def window(self, text: str, now: datetime) -> Window:
        """A window as typed, in the units that this API knows. See :meth:`Window.parse`."""
        exact = Window.parse(text, now)
        # A day's window for an API that knows days is that day, not the day before and a bit of today.
        return Window.parse(text, now, self.kind.grain(exact.end - exact.start))

    def pages(self, query: Query) -> Iterator[Page]:
        """The answer, page by page in order of time, so that memory holds one at a time.

        Raises :class:`UserError` when the API cannot be reached, is not ready or answers with an error.
        """
        fields = query.fields
        for window in query.window.pages(query.step):
            yield self._page(query, fields, window)

    def _page(self, query: Query, fields: Sequence[str], window: Window) -> Page:
        allocations = self._read(query, fields, window)
        everything = allocations
        if query.filters:
            # What is left of a filter may have run for a part of the time that there is data for.
            everything = self._read(Query(window=window, aggregate=("cluster",)), ("cluster",), window)
        starts = [one.start for one in everything if one.start and not one.is_idle]
        ends = [one.end for one in everything if one.end and not one.is_idle]
        covered = (max(ends) - min(starts)) / MINUTE if starts and ends else 0.0
        return Page(window, [one for one in allocations if _wanted(one, query, fields)], max(covered, 0.0))

    def _read(self, query: Query, fields: Sequence[str], window: Window) -> list[Allocation]:
        found = self._ask(f"{self.kind.path}?{urlencode(self._parameters(query, fields, window), quote_via=quote)}")
        if found.status != 200:
            self._refuse(found)
        try:
            return list(answer.read(found.body, fields, window))
        except UserError as error:
            raise UserError(f"{self.transport.where}: {error}") from None

    def _parameters(self, query: Query, fields: Sequence[str], window: Window) -> dict[str, str]:
        parameters = {"window": str(window), "aggregate": ",".join(fields)}
        idle = "true" if query.idle else "false"
        if self.kind is Kind.OPENCOST:
            parameters["includeIdle"] = idle
            if window.hours <= 6:
                # Its default of five minutes rounds short lives; over days it is fine, and kinder to Prometheus.
                parameters["resolution"] = "1m"
        else:
            parameters |= {"idle": idle, "shareIdle": "false", "accumulate": "true"}
        if query.filters:
            parameters["filter"] = "+".join(
                _filter_field(name) + ",".join(f'"{_filter_value(name, value)}"' for value in values)
                for name, values in query.filters.items()
            )
        return parameters

    def _ask(self, path: str) -> Answer:
        """Asks until there is an answer that asking again would not change."""
        deadline = time.monotonic() + self.time_limit
        attempt = 0
        while True:
            attempt += 1
            last: Answer | UnreachableError
            wait = _FIRST_WAIT * 2 ** (attempt - 1)
            try:
                last = self.transport.get(path, max(deadline - time.monotonic(), 1))
                if last.status not in _AGAIN:
                    return last
                wait = max(wait, last.retry_after or 0)
            except UnreachableError as unreachable:
                last = unreachable
            wait = min(wait, _LONGEST_WAIT)
            if attempt == _ATTEMPTS or time.monotonic() + wait >= deadline:
                if isinstance(last, UnreachableError):
                    raise last
                self._refuse(last)
            self.sleep(wait)

    def _refuse(self, found: Answer) -> NoReturn:
        where, said = self.transport.where, answer.message(found.body)
        if found.status in _NOT_READY:
            raise UserError(
                f"{where}: not ready (HTTP {found.status}: {said}); after an installation the first data takes about "
                "25 minutes"
            )
        if found.status in (401, 403):
            raise UserError(f"{where}: access is denied (HTTP {found.status}: {said})")
        if found.status == 404:
            raise UserError(f"{where}: no Allocation API at {self.kind.path} (HTTP 404: {said})")
        hint = "; its Prometheus does not answer" if "Prometheus communication error" in _text(found.body) else ""
        raise UserError(f"{where}: answers with an error (HTTP {found.status}: {said}){hint}")


def _wanted(allocation: Allocation, query: Query, fields: Sequence[str]) -> bool:
    """Whether the filters let an allocation through; not every version heeds them. Idle capacity is nobody's."""
    if allocation.is_idle:
        return query.idle and not query.filters
    values = dict(zip(fields, allocation.key, strict=True))
    return all(
        (found := values[sanitized(name)]) in allowed or (name == "controller" and found.rpartition(":")[2] in allowed)
        for name, allowed in query.filters.items()
    )


def sanitized(name: str) -> str:
    """A field with its label's name as the API stores it: with underscores."""
    kind, colon, label = name.partition(":")
    return kind + colon + re.sub(r"[^A-Za-z0-9_]", "_", label)


def _filter_field(name: str) -> str:
    if name.startswith("label:"):
        return f"label[{sanitized(name).partition(':')[2]}]:"
    return {"controller": "controllerName", "service": "services"}.get(name, name) + ":"


def _filter_value(name: str, value: str) -> str:
    return value.rpartition(":")[2] if name == "controller" else value


def _without_password(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//", url)


def _text(body: bytes | str) -> str:
    return body.decode("utf-8", "replace") if isinstance(body, bytes) else body


def _reason(error: Exception) -> str:
    """The innermost cause in words: requests nests three of them, with addresses and object ids."""
    found = re.findall(r"\[Errno -?\d+\] ([^'\")]+)", str(error))
    return answer.clean(found[-1] if found else type(error).__name__)
