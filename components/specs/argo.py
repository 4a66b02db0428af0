"""``argoproj.io/v1alpha1``: AppProject, Application."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from components.custom import CustomKind, Spec

APP_PROJECT = CustomKind("argoproj.io/v1alpha1", "AppProject")
APPLICATION = CustomKind("argoproj.io/v1alpha1", "Application")


@dataclass(frozen=True, kw_only=True)
class Destination(Spec):
    """A namespace of a cluster, which is named by the URL of its API server."""

    server: str
    namespace: str


@dataclass(frozen=True, kw_only=True)
class GroupKind(Spec):
    """A kind of any version; the group of the core kinds is empty."""

    group: str
    kind: str


@dataclass(frozen=True, kw_only=True)
class ClusterObject(GroupKind):
    """A cluster-wide kind; with `name`, one object of it."""

    name: str | None = None


@dataclass(frozen=True, kw_only=True)
class OrphanedResources(Spec):
    """What is in an Application's namespace and belongs to none."""

    warn: bool


@dataclass(frozen=True, kw_only=True)
class AppProjectSpec(Spec):
    """What Applications of the project may deliver, from where to where. An empty list allows nothing."""

    description: str
    source_repos: Sequence[str]
    destinations: Sequence[Destination]
    cluster_resource_whitelist: Sequence[ClusterObject]
    namespace_resource_whitelist: Sequence[GroupKind]
    orphaned_resources: OrphanedResources


@dataclass(frozen=True, kw_only=True)
class Directory(Spec):
    """Which files of a folder are manifests: globs, whose ``*`` matches ``/`` too."""

    recurse: bool
    include: str
    exclude: str


@dataclass(frozen=True, kw_only=True)
class Source(Spec):
    """A folder in Git."""

    repo_url: str = field(metadata={"wire": "repoURL"})
    target_revision: str
    path: str
    directory: Directory


@dataclass(frozen=True, kw_only=True)
class Automated(Spec):
    """Syncs without being asked."""

    prune: bool
    self_heal: bool


@dataclass(frozen=True, kw_only=True)
class Backoff(Spec):
    """The pause before the next attempt: `duration`, times `factor` each time, `max_duration` at most."""

    duration: str
    factor: int
    max_duration: str


@dataclass(frozen=True, kw_only=True)
class Retry(Spec):
    """`limit` attempts; `refresh` makes a later one take what the repository says by then."""

    limit: int
    refresh: bool
    backoff: Backoff


@dataclass(frozen=True, kw_only=True)
class SyncPolicy(Spec):
    """Without `automated`, only people start a sync."""

    automated: Automated | None = None
    sync_options: Sequence[str]
    retry: Retry


@dataclass(frozen=True, kw_only=True)
class IgnoredDifference(Spec):
    """Fields of one object that are somebody else's."""

    group: str
    kind: str
    namespace: str
    name: str
    json_pointers: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class ApplicationSpec(Spec):
    """What is delivered where, and how."""

    project: str
    source: Source
    destination: Destination
    sync_policy: SyncPolicy
    ignore_differences: Sequence[IgnoredDifference]
    revision_history_limit: int
