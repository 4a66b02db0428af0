"""GitOps: Argo CD, and what it may deliver."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, ClassVar, Self

from pydantic import Field, Strict, model_validator

from cloudmart.settings.base import Cidr, DnsLabel, Flag, MisfitError, Model, OwnNamespace, Resources
from cloudmart.settings.charts import ARGO_CD, Chart, ChartSource
from cloudmart.settings.layer import Layer, Workload, amounts, workload


class SyncMode(StrEnum):
    """Who brings a change of the repository into the cluster."""

    #: `pulumi up`, or somebody who presses the button; Argo CD shows what differs.
    MANUAL = "manual"
    #: Argo CD.
    AUTOMATED = "automated"


class Sync(Model):
    """What Argo CD does about a difference between the repository and the cluster."""

    #: Who delivers.
    mode: SyncMode = SyncMode.MANUAL
    #: Deletes what is no longer in the repository, once somebody has confirmed it.
    prune: Flag = False
    #: Undoes what was changed in the cluster by hand.
    self_heal: Flag = False

    @model_validator(mode="after")
    def _only_what_is_automated(self) -> Self:
        if self.mode is SyncMode.MANUAL and (self.prune or self.self_heal):
            raise MisfitError(
                "mode manual with prune or selfHeal; allowed: mode automated, or neither of them",
                ("prune" if self.prune else "selfHeal",),
                ("mode",),
            )
        return self


# https://host[:port]/path, ssh://user@host[:port]/path, or user@host:path. Never a password: it would stand in the
# state and in every preview.
_REPOSITORY = re.compile(
    r"(?:(?P<scheme>https)://|ssh://[a-z_][a-z0-9_-]*@)(?P<host>[A-Za-z0-9.-]+)(?::(?P<port>[0-9]{1,5}))?/[A-Za-z0-9._~/-]+"
    r"|[a-z_][a-z0-9_-]*@[A-Za-z0-9.-]+:[A-Za-z0-9._~][A-Za-z0-9._~/-]*"
)


class Repository(Model):
    """Where in Git the rendered manifests are. Credentials for a private one are a Secret that Argo CD finds itself."""

    #: ``https://host/path``, ``ssh://git@host/path`` or ``git@host:path``, without a password.
    url: Annotated[str, Strict(), Field(max_length=500)]
    #: Branch, tag or commit. A branch of its own: what is on it goes into the cluster.
    revision: Annotated[str, Strict(), Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$", max_length=200)] = "main"
    #: The folder that holds one folder a stack, each as `cloudmart render` wrote it.
    path: Annotated[str, Strict(), Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$")] = (
        "deploy"
    )
    #: Addresses of the Git server. Left out, it is somewhere on the internet.
    cidrs: tuple[Cidr, ...] = ()
    #: Lines of a `known_hosts` file for a server that is reached by SSH and is none of the large public ones.
    known_hosts: tuple[Annotated[str, Strict(), Field(pattern=r"^\S+ [a-z0-9@.-]+ [A-Za-z0-9+/=]+$")], ...] = ()

    @model_validator(mode="after")
    def _no_password(self) -> Self:
        if not (found := _REPOSITORY.fullmatch(self.url)):
            # Not shown: what is wrong with it may be a password.
            raise MisfitError(
                "a url that is not one of a repository; allowed: https://host/path, ssh://git@host/path or "
                "git@host:path, without a password",
                ("url",),
            )
        if found["port"] and not 1 <= int(found["port"]) <= 65_535:
            raise MisfitError(f"port {found['port']} in the url; allowed: 1 to 65535", ("url",))
        return self

    @property
    def port(self) -> int:
        """The port that the Git server listens on."""
        found = _REPOSITORY.fullmatch(self.url)
        assert found is not None  # noqa: S101 - validated
        if found["port"]:
            return int(found["port"])
        return 443 if found["scheme"] else 22


class Notifications(Model):
    """Messages about drift and failures: one POST of ``{"text": ...}``, as chat systems' incoming webhooks read it."""

    #: Whether they are sent.
    enabled: Flag = False
    #: The Secret in Argo CD's namespace whose key ``url`` is the webhook's address: who knows it can write there.
    secret: DnsLabel = "argocd-notifications-webhook"  # noqa: S105 - its name
    controller: Resources = Resources(requests=amounts("25m", "96Mi"), limits=amounts("100m", "256Mi"))


class GitOpsSettings(Layer):
    """Argo CD, which holds the cluster against the rendered manifests in Git."""

    namespace: OwnNamespace = "argocd"
    chart: ChartSource = ChartSource()
    #: Required where the layer is on.
    repository: Repository | None = None
    sync: Sync = Sync()
    #: How often the repository is asked for something new.
    reconcile_seconds: Annotated[int, Strict(), Field(ge=60, le=86_400)] = 180
    #: The account `admin`, whose first password Argo CD makes itself. Off, people come by their rights in the cluster
    #: (`argocd --core`) or not at all.
    admin: Flag = True
    notifications: Notifications = Notifications()
    #: Compares and applies. One: more than one would share out clusters, and there is one.
    controller: Resources = Resources(requests=amounts("250m", "512Mi"), limits=amounts("1", "1Gi"))
    #: Reads Git and makes manifests; while it is away nothing is compared.
    repo_server: Workload = workload(requests=("100m", "256Mi"), limits=("400m", "512Mi"))
    #: API and web pages.
    server: Workload = workload(requests=("50m", "128Mi"), limits=("200m", "256Mi"))
    #: A cache: lost, it is filled again.
    redis: Resources = Resources(requests=amounts("50m", "64Mi"), limits=amounts("200m", "128Mi"))
    #: The Job before each installation that makes Redis' password.
    secret_init: Resources = Resources(requests=amounts("50m", "64Mi"), limits=amounts("200m", "128Mi"))

    CHARTS: ClassVar[Mapping[str, Chart]] = {"chart": ARGO_CD}

    @model_validator(mode="after")
    def _something_to_deliver(self) -> Self:
        if self.enabled and self.repository is None:
            raise MisfitError(
                "enabled without a repository; allowed: repository.url, the Git repository of the manifests",
                ("enabled",),
                ("repository",),
            )
        return self

    @property
    def workloads(self) -> Mapping[str, Workload]:
        single = {"controller": self.controller, "redis": self.redis, "secretInit": self.secret_init}
        if self.notifications.enabled:
            single["notifications"] = self.notifications.controller
        return {
            **{name: Workload(requests=part.requests, limits=part.limits) for name, part in single.items()},
            "repoServer": self.repo_server,
            "server": self.server,
        }
