"""Run the real Pulumi program without an engine, and keep what it would have sent to one.

:func:`record` runs the program of ``Pulumi.yaml`` (``__main__.py``) in this process, the way Pulumi's Python language
host does, against a monitor that answers every registration itself. No cluster, command line, credential or network is
used. The program sees a *preview*: outputs that only a real provider could know are unknown, and ``apply`` does not run
on them.

Secrets
-------
``Recorded.inputs`` never holds a secret: every leaf of a secret input is :data:`SECRET`. What the program passed is
kept apart, in ``Recorded.secrets``, as a *template*, for the one reader that makes real objects (the apply path):

- ``RandomPassword`` results and encrypted configuration values are not known here. The program gets a *sentinel* in
  their place, such as ``cloudmart-generated.postgres-password.1f0c9a7e.result.``. It is made of characters that need
  no quoting in URLs, so it survives ``Output.concat``, ``Output.format`` and URL quoting.
- ``Recording.generated`` maps each sentinel to a :class:`Generated`: what would have made the value, and its arguments
  (length, character classes), so that the apply path can make one, and keep it from then on.
- :func:`cloudmart.preview.render.substitute` puts real values in place of sentinels.

A sentinel that turns up in a plain (not secret) input or output is a leak of that secret into state and manifests.
It is masked, and its path is kept in ``Recorded.leaks``.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import hashlib
import importlib
import json
import logging
import os
import re
import runpy
import sys
import traceback
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import pulumi
from google.protobuf import empty_pb2, struct_pb2
from pulumi import _types as pulumi_types
from pulumi.runtime import resource as pulumi_resource
from pulumi.runtime import rpc
from pulumi.runtime.mocks import MockMonitor, MockResourceArgs, Mocks
from pulumi.runtime.proto import resource_pb2, source_pb2
from pulumi.runtime.settings import SETTINGS, set_root_resource
from pulumi.runtime.stack import register_stack_transformation

from cloudmart.errors import UserError, meant
from cloudmart.settings.source import read, shown

SECRET = "[secret]"  # noqa: S105 (the mask, not a secret)
"""Stands in ``Recorded.inputs`` and ``Recording.outputs`` for every secret leaf."""

UNKNOWN = "[unknown]"
"""Stands for a value that only a real provider could give."""

HOME = Path(__file__).resolve().parents[2]
"""The repository that this package is part of."""

PropertyPath: TypeAlias = tuple[str | int, ...]
"""Where a value stands in a resource's inputs, e.g. ``("spec", "containers", 0, "image")``."""

_STACK_TYPE = "pulumi:pulumi:Stack"
_SENTINEL = re.compile(r"cloudmart-(?:generated|config)\.[A-Za-z0-9_.~-]*?\.[0-9a-f]{8}\.[A-Za-z]+\.")
# Outputs of pulumi-random that are secret, and so are given as sentinels.
_GENERATED_SECRETS = {
    "random:index/randomPassword:RandomPassword": ("result", "bcryptHash"),
    "random:index/randomBytes:RandomBytes": ("base64", "hex"),
}


class ProgramError(UserError):
    """The program failed with something that is not a :class:`UserError`; ``__cause__`` is the original exception."""


@dataclass(frozen=True)
class Generated:
    """A value that the program asked for and that does not exist offline.

    ``source`` is ``random`` (a resource of pulumi-random; ``inputs`` are its arguments, ``property`` its output) or
    ``config`` (an encrypted value of ``Pulumi.<stack>.yaml``; ``name`` is its key).
    """

    sentinel: str
    source: str
    name: str
    property: str
    urn: str = ""
    type: str = ""
    inputs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Recorded:
    """One registration, as it went over the wire: names of properties are the provider's (camelCase)."""

    urn: str
    type: str
    name: str
    inputs: dict[str, Any]
    parent: str
    custom: bool
    protect: bool = False
    retain_on_delete: bool = False
    ignore_changes: tuple[str, ...] = ()
    dependencies: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    custom_timeouts: Mapping[str, str] = field(default_factory=dict)
    provider: str = ""
    version: str = ""
    unknown_paths: tuple[PropertyPath, ...] = ()
    leaks: tuple[PropertyPath, ...] = ()
    secrets: Mapping[PropertyPath, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def secret_paths(self) -> tuple[PropertyPath, ...]:
        return tuple(self.secrets)

    @property
    def api_version(self) -> str | None:
        return _text(self.inputs.get("apiVersion"))

    @property
    def kind(self) -> str | None:
        return _text(self.inputs.get("kind"))

    @property
    def metadata(self) -> Mapping[str, Any]:
        metadata = self.inputs.get("metadata")
        return metadata if isinstance(metadata, dict) else {}

    @property
    def namespace(self) -> str | None:
        """``metadata.namespace`` of an object; the target namespace of a Helm release."""
        return _text(self.metadata.get("namespace")) or _text(self.inputs.get("namespace"))

    @property
    def object_name(self) -> str | None:
        return _text(self.metadata.get("name"))

    @cached_property
    def is_kubernetes_object(self) -> bool:
        """True for what becomes exactly one object in the cluster: no Helm release, patch, YAML bundle or provider."""
        return (
            self.custom
            and self.type.startswith("kubernetes:")
            and bool(self.api_version)
            and self.type.rsplit(":", 1)[-1] == self.kind
        )


@dataclass(frozen=True)
class Recording:
    """Everything that one run of the program registered, in the order in which the program made it, every run alike."""

    project: str
    stack: str
    root: Path
    resources: list[Recorded]
    outputs: dict[str, Any]
    generated: dict[str, Generated]
    output_leaks: tuple[PropertyPath, ...] = ()
    #: What the engine would have passed on, less what is secret: keys with their namespace, structured values as JSON.
    config: Mapping[str, str] = field(default_factory=dict)


def path_text(path: PropertyPath) -> str:
    """``("spec", "containers", 0, "image")`` as ``spec.containers[0].image``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif re.fullmatch(r"[A-Za-z0-9_-]+", part):
            text += f".{part}" if text else part
        else:
            text += f"[{json.dumps(part)}]"
    return text


def record(
    stack: str, root: Path | None = None, *, overrides: Mapping[str, Mapping[str, Any]] | None = None
) -> Recording:
    """Run the program in ``root`` (default: this repository) for ``stack`` and return what it registered.

    ``overrides`` are merged over the stack's configuration for this run, by full key; see :func:`overridden`.

    May be called any number of times in a process, for different roots and stacks; not inside a running event loop.

    Raises :class:`UserError` for a missing or malformed project or stack file and for every ``UserError`` of the
    program; :class:`ProgramError` (its subclass) for any other failure of the program.
    """
    where = (root or HOME).resolve()
    # Pulumi keeps its state in context variables: in a copy of the context nothing leaks into the caller's.
    return contextvars.copy_context().run(_record, stack, where, overrides or {})


def overridden(config: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """A stack's configuration with overrides merged in, mapping by mapping; neither is changed."""
    merged = dict(config)
    for key, value in overrides.items():
        below = merged.get(key)
        if isinstance(value, Mapping):
            value = overridden(below if isinstance(below, Mapping) else {}, value)
        merged[key] = value
    return merged


def _record(stack: str, root: Path, overrides: Mapping[str, Any]) -> Recording:
    project = _load_yaml(root / "Pulumi.yaml")
    project_name = project.get("name")
    if not isinstance(project_name, str) or not project_name:
        raise UserError(f"Pulumi.yaml: name: found {shown(project_name)}; allowed: the project's name")
    program = root / str(project.get("main") or "")
    if program.is_dir():
        program /= "__main__.py"
    if not program.is_file():
        raise UserError(f"{_shown(program, root)}: no such file; it is the program that Pulumi.yaml names")

    monitor = RecordingMonitor()
    config, secret_keys = _stack_config(project, project_name, stack, root, monitor, overrides)
    pulumi.runtime.set_all_config(config, secret_keys)
    set_root_resource(None)  # type: ignore[arg-type]
    pulumi.runtime.configure(
        pulumi.runtime.Settings(
            project=project_name,
            stack=stack,
            monitor=monitor,
            dry_run=True,
            organization="organization",
            root_directory=str(root),
        )
    )

    order = _Order()

    def run() -> None:
        register_stack_transformation(order.note)
        runpy.run_path(str(program), run_name="__main__")

    try:
        with _as_the_language_host(program, root, config, secret_keys):
            run_program(run)
    except (Exception, SystemExit) as error:
        raise _explained(error, root) from error
    return Recording(
        project=project_name,
        stack=stack,
        root=root,
        resources=order.of(monitor.recorded),
        outputs=monitor.stack_outputs,
        generated=monitor.generated,
        output_leaks=monitor.output_leaks,
        config={key: value for key, value in config.items() if key not in secret_keys},
    )


class _Order:
    """The order in which the program makes its resources.

    Registrations that wait for the same others follow them in any order: Pulumi keeps what it waits for in sets.
    """

    def __init__(self) -> None:
        self._paths: dict[pulumi.Resource, tuple[str, ...]] = {}

    def note(self, args: pulumi.ResourceTransformationArgs) -> None:
        """A transformation, which the SDK calls for each resource as it is made, that changes nothing."""
        parent = self._paths.get(args.opts.parent, ()) if args.opts.parent else ()
        self._paths[args.resource] = (*parent, args.type_, args.name)

    def of(self, recorded: Sequence[Recorded]) -> list[Recorded]:
        """What was recorded, in that order: a resource comes after its parent and after all that it was given."""
        places = {path: place for place, path in enumerate(self._paths.values())}
        paths: dict[str, tuple[str, ...]] = {}
        for one in recorded:  # a parent is registered before its children
            paths[one.urn] = (*paths.get(one.parent, ()), one.type, one.name)
        return sorted(recorded, key=lambda one: places[paths[one.urn]])


def run_program(program: Callable[[], None]) -> None:
    """Run ``program`` in a stack of the configured runtime until all registrations and outputs have settled."""

    async def run_and_settle() -> None:
        program()
        # Pulumi waits for one output at a time, each time with all the others: quadratic. A failure is left to Pulumi,
        # which knows whose it is.
        while outputs := set(SETTINGS.outputs):
            done, _ = await asyncio.wait(outputs, return_when=asyncio.FIRST_EXCEPTION)
            if any(task.cancelled() or task.exception() for task in done):
                return

    loop = asyncio.new_event_loop()
    # The monitor is a plain object: a call to it needs no thread. Without threads the order is the same on every run.
    loop.set_default_executor(_InlineExecutor(max_workers=1))
    loop.set_exception_handler(lambda _loop, _context: None)
    asyncio.set_event_loop(loop)
    noise = logging.getLogger("asyncio")
    level = noise.level
    noise.setLevel(logging.CRITICAL)
    # The SDK tells the engine from which lines of the program each resource comes, at a sixth of the time. No engine.
    positions = pulumi_resource._get_stack_trace
    pulumi_resource._get_stack_trace = source_pb2.StackTrace
    try:
        with uncollected():
            loop.run_until_complete(pulumi.runtime.run_in_stack(run_and_settle))
    finally:
        # After a failure, outputs that will never resolve are left.
        pending = asyncio.all_tasks(loop)
        for task in pending:
            task.cancel()
        if pending:
            loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
        pulumi_resource._get_stack_trace = positions
        noise.setLevel(level)
        asyncio.set_event_loop(None)
        loop.close()


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Collect no garbage meanwhile.

    Nearly everything that a preview makes lives until its end, so collecting in between finds nothing: it took 40 % of
    the time with 4,500 resources, and saved 10 % of the memory.
    What is garbage by then, some 5 MB for the smallest stack, waits for a full collection: a process that records again
    and again asks for one itself (`gc.collect`).
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            # What is there counts as old from now on, without a look at it: else the next object that is made would
            # have all of it looked through.
            gc.freeze()
            gc.unfreeze()
            gc.enable()


class RecordingMonitor(MockMonitor):
    """Answers registrations as providers would, and keeps each request.

    An answer echoes the inputs, so whatever the program declared is known to it; what only a provider could add is
    missing, and therefore unknown to the program.
    """

    def __init__(self) -> None:
        super().__init__(_NoMocks())
        self.recorded: list[Recorded] = []
        self.generated: dict[str, Generated] = {}
        self.stack_outputs: dict[str, Any] = {}
        self.output_leaks: tuple[PropertyPath, ...] = ()
        self._stack_urn = ""
        self._urns: set[str] = set()
        self._known_as: dict[str, tuple[str, ...]] = {}

    def make_urn(self, parent: str, type_: str, name: str) -> str:
        """The URN as the engine makes it: all types of the ancestors but the stack's. (The base class keeps one.)"""
        ancestors = parent.split("::")[2] if parent else _STACK_TYPE
        qualified = type_ if ancestors == _STACK_TYPE else f"{ancestors}${type_}"
        return f"urn:pulumi:{pulumi.get_stack()}::{pulumi.get_project()}::{qualified}::{name}"

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802 (gRPC's name)
        urn = self.make_urn(request.parent, request.type, request.name)
        if request.type == _STACK_TYPE:
            self._stack_urn = urn
            return resource_pb2.RegisterResourceResponse(urn=urn)
        if urn in self._urns:
            raise UserError(f"two resources have the same URN, which Pulumi refuses: {urn}")
        self._urns.add(urn)
        reader = _Reader()
        inputs = reader.struct(request.object, ())
        timeouts = request.customTimeouts
        recorded = Recorded(
            urn=urn,
            type=request.type,
            name=request.name,
            inputs=inputs,
            parent=request.parent,
            custom=request.custom,
            protect=request.protect,
            retain_on_delete=request.retainOnDelete,
            ignore_changes=tuple(request.ignoreChanges),
            dependencies=tuple(sorted(request.dependencies)),
            aliases=self._aliases(request),
            custom_timeouts={
                key: getattr(timeouts, key) for key in ("create", "update", "delete") if getattr(timeouts, key)
            },
            provider=request.provider,
            version=request.version,
            unknown_paths=tuple(reader.unknown),
            leaks=tuple(reader.leaks),
            secrets=reader.secrets,
        )
        self.recorded.append(recorded)
        response = resource_pb2.RegisterResourceResponse(urn=urn, object=request.object)
        if request.custom:
            response.id = self._add_outputs(recorded, response.object)
        return response

    def _aliases(self, request: Any) -> tuple[str, ...]:
        """The URNs by which a resource was known: its own aliases, and those that follow from its parent's.

        As the engine works them out (pkg/resource/deploy/step_generator.go: generateAliases).
        """
        parents = {request.parent: request.parent.rpartition("::")[2]}
        parents |= {alias: alias.rpartition("::")[2] for alias in self._known_as.get(request.parent, ())}
        present = parents[request.parent]

        def named(name: str, parent: str) -> str:
            # A name that begins with the parent's was made of it.
            began = present and request.parent != self._stack_urn and name.startswith(present)
            return parents[parent] + name[len(present) :] if began and parent in parents else name

        found: dict[str, None] = {}
        for parent in parents:
            if parent != request.parent:
                found[self.make_urn(parent, request.type, named(request.name, parent))] = None
        for alias in request.aliases:
            spec = alias.spec
            if alias.urn:
                found[alias.urn] = None
                continue
            above = [""] if spec.noParent else [spec.parentUrn] if spec.parentUrn else list(parents)
            for parent in above:
                name = spec.name or named(request.name, parent)
                found[self.make_urn(parent, spec.type or request.type, name)] = None
        urn = self.make_urn(request.parent, request.type, request.name)
        found.pop(urn, None)
        if found:
            self._known_as[urn] = tuple(found)
        return tuple(found)

    def RegisterResourceOutputs(self, request: Any) -> Any:  # noqa: N802
        if request.urn == self._stack_urn:
            reader = _Reader()
            self.stack_outputs = reader.struct(request.outputs, ())
            self.output_leaks = tuple(reader.leaks)
        return empty_pb2.Empty()

    def ReadResource(self, request: Any) -> Any:  # noqa: N802
        """Existing resources and other stacks cannot be looked up: their outputs stay unknown."""
        urn = self.make_urn(request.parent, request.type, request.name)
        return resource_pb2.ReadResourceResponse(urn=urn, properties=request.properties)

    def Invoke(self, request: Any) -> Any:  # noqa: N802
        raise UserError(f"the program calls {request.tok}, which needs a provider: the offline preview has none")

    def Call(self, request: Any) -> Any:  # noqa: N802
        raise UserError(f"the program calls {request.tok}, which needs a provider: the offline preview has none")

    def sentinel(self, source: str, name: str, prop: str, key: str, recorded: Recorded | None = None) -> str:
        """A stand-in for a value that does not exist offline; ``key`` makes it unique and is the same on every run."""
        kept = re.sub(r"[^A-Za-z0-9_-]", "-", name)
        text = f"cloudmart-{source}.{kept}.{hashlib.sha256(key.encode()).hexdigest()[:8]}.{prop}."
        self.generated[text] = Generated(
            sentinel=text,
            source="random" if recorded else "config",
            name=name,
            property=prop,
            urn=recorded.urn if recorded else "",
            type=recorded.type if recorded else "",
            inputs=recorded.inputs if recorded else {},
        )
        return text

    def _add_outputs(self, recorded: Recorded, outputs: struct_pb2.Struct) -> str:
        """Add what the provider would return beyond the inputs; the return value is the resource's id."""
        digest = hashlib.sha256(recorded.urn.encode())
        # Other keepers, another value.
        keepers = recorded.inputs.get("keepers")
        key = f"{recorded.urn} {json.dumps(keepers, sort_keys=True)}" if keepers else recorded.urn
        for prop in _GENERATED_SECRETS.get(recorded.type, ()):
            sentinel = self.sentinel("generated", recorded.name, prop, key, recorded)
            outputs[prop] = {rpc._special_sig_key: rpc._special_secret_sig, "value": sentinel}
        # What follows is no secret: names and ids. Derived from the URN, so that previews and diffs are stable.
        match recorded.type:
            case "random:index/randomString:RandomString":
                length = int(recorded.inputs.get("length", 8))
                outputs["result"] = hashlib.shake_256(recorded.urn.encode()).hexdigest(length)[:length]
            case "random:index/randomId:RandomId":
                outputs["hex"] = hashlib.shake_256(recorded.urn.encode()).hexdigest(int(recorded.inputs["byteLength"]))
            case "random:index/randomUuid:RandomUuid":
                outputs["result"] = str(uuid.uuid5(uuid.NAMESPACE_URL, recorded.urn))
        if recorded.is_kubernetes_object:
            name = recorded.object_name
            if name is None:
                name = f"{recorded.name}-{digest.hexdigest()[:8]}"
                outputs.get_or_create_struct("metadata")["name"] = name
            return f"{recorded.namespace}/{name}" if recorded.namespace else name
        return f"{recorded.name}-{digest.hexdigest()[:8]}"


class _NoMocks(Mocks):
    """The base class wants mocks; :class:`RecordingMonitor` answers everything itself and never calls them."""

    def new_resource(self, args: MockResourceArgs) -> tuple[str | None, dict[Any, Any]]:
        raise NotImplementedError(args.typ)

    def call(self, args: pulumi.runtime.MockCallArgs) -> tuple[dict[Any, Any], list[tuple[str, str]] | None]:
        raise NotImplementedError(args.token)


class _Reader:
    """Turns protobuf structs into plain JSON values, and notes where secrets, unknowns and leaks stand."""

    def __init__(self) -> None:
        self.secrets: dict[PropertyPath, Any] = {}
        self.unknown: list[PropertyPath] = []
        self.leaks: list[PropertyPath] = []

    def struct(self, struct: struct_pb2.Struct, path: PropertyPath) -> dict[str, Any]:
        # A protobuf map has no order of its own; reports and manifests need one.
        return {key: self.value(value, (*path, key)) for key, value in sorted(struct.fields.items())}

    def value(self, value: struct_pb2.Value, path: PropertyPath, secret: bool = False) -> Any:
        """``secret``: inside of a secret, where sentinels are at home and the caller does the masking."""
        match value.WhichOneof("kind"):
            case "string_value":
                text = value.string_value
                if text == rpc.UNKNOWN:
                    self.unknown.append(path)
                    return UNKNOWN
                if not secret and "cloudmart-" in text and _SENTINEL.search(text):
                    self.leaks.append(path)
                    return _SENTINEL.sub(SECRET, text)
                return text
            case "number_value":
                number = value.number_value
                return int(number) if number.is_integer() else number
            case "bool_value":
                return value.bool_value
            case "list_value":
                return [self.value(v, (*path, i), secret) for i, v in enumerate(value.list_value.values)]
            case "struct_value":
                return self._struct_value(value.struct_value, path, secret)
        return None

    def _struct_value(self, struct: struct_pb2.Struct, path: PropertyPath, secret: bool) -> Any:
        fields = struct.fields
        if rpc._special_sig_key in fields:
            signature = fields[rpc._special_sig_key].string_value
            if signature == rpc._special_secret_sig:
                template = self.value(fields["value"], path, secret=True)
                return template if secret else self._masked(template, path)
            if signature == rpc._special_resource_sig:
                return fields["urn"].string_value
        return {key: self.value(v, (*path, key), secret) for key, v in sorted(fields.items())}

    def _masked(self, template: Any, path: PropertyPath) -> Any:
        """Mask leaf by leaf: an object that is secret as a whole keeps its keys, and can still be checked."""
        if isinstance(template, dict):
            return {key: self._masked(item, (*path, key)) for key, item in template.items()}
        if isinstance(template, list):
            return [self._masked(item, (*path, index)) for index, item in enumerate(template)]
        self.secrets[path] = template
        return SECRET


class _InlineExecutor(ThreadPoolExecutor):
    """Runs each call at once, in the caller's thread. (asyncio takes nothing but a ThreadPoolExecutor.)"""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 (an executor hands every exception on)
            future.set_exception(error)
        return future


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


@contextlib.contextmanager
def _as_the_language_host(
    program: Path, root: Path, config: Mapping[str, str], secret_keys: Sequence[str]
) -> Iterator[None]:
    """Working directory, arguments, environment and module search path as under ``pulumi up``, put back afterwards.

    Packages of another root (a checkout of a different commit) must not mix with ours of the same name: those that it
    provides itself are put aside for the run, and what it loaded is dropped after it.
    """
    argv, path, environment = sys.argv, list(sys.path), dict(os.environ)
    foreign = root != HOME
    own = {entry.stem if entry.suffix == ".py" else entry.name for entry in root.iterdir()} - {"__main__"}
    aside = {name: module for name, module in sys.modules.items() if foreign and name.partition(".")[0] in own}
    for name in aside:
        del sys.modules[name]
    before = set(sys.modules)
    sys.argv = [str(program)]
    os.environ["PULUMI_CONFIG"] = json.dumps(config)
    os.environ["PULUMI_CONFIG_SECRET_KEYS"] = json.dumps(secret_keys)
    sys.path.insert(0, str(program.parent))
    importlib.invalidate_caches()
    try:
        # Standard output belongs to the report; what a program prints is for the person watching.
        with contextlib.chdir(root), contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        sys.argv, sys.path[:] = argv, path
        os.environ.clear()
        os.environ.update(environment)
        if foreign:
            for name in [name for name in sys.modules if name not in before and name.partition(".")[0] in own]:
                del sys.modules[name]
            sys.modules.update(aside)
            # What the SDK has looked up of the program's classes would keep all of its modules, recording by recording.
            for lookup in vars(pulumi_types).values():
                if clear := getattr(lookup, "cache_clear", None):
                    clear()


def _explained(error: BaseException, root: Path) -> UserError:
    """The error to show: a UserError of the program as itself, anything else with its type and place in the program."""
    seen: BaseException | None = error
    passed: set[int] = set()
    # asyncio can make an exception its own cause.
    while seen is not None and id(seen) not in passed:
        passed.add(id(seen))
        # A foreign root has a class of its own, of the same name.
        if any(cls.__name__ == UserError.__name__ for cls in type(seen).__mro__):
            return seen if isinstance(seen, UserError) else UserError(str(seen))
        if isinstance(seen, pulumi.RunError):
            return UserError(str(seen))
        seen = seen.__cause__
    frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).is_relative_to(root)]
    own = [f for f in frames if "site-packages" not in f.filename and f.filename != __file__]
    place = f" ({_shown(Path(own[-1].filename), root)}, line {own[-1].lineno})" if own else ""
    message = " ".join(str(error).split()) or "no message"
    return ProgramError(f"the program failed: {type(error).__name__}: {_SENTINEL.sub(SECRET, message)}{place}")


def _stack_config(
    project: Mapping[str, Any],
    name: str,
    stack: str,
    root: Path,
    monitor: RecordingMonitor,
    overrides: Mapping[str, Any],
) -> tuple[dict[str, str], list[str]]:
    """Configuration as the engine passes it: full keys, text values, objects as JSON; and the keys that are secret."""
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", stack):
        raise UserError(f"stack {stack!r}: a stack's name is made of letters, digits, '-', '_' and '.'")
    file = root / f"Pulumi.{stack}.yaml"
    if not file.is_file():
        stacks = sorted(p.name[len("Pulumi.") : -len(".yaml")] for p in root.glob("Pulumi.*.yaml"))
        raise UserError(f"{file.name}: no such file{meant(stack, stacks)}; stacks here: {', '.join(stacks) or 'none'}")
    declared = _section(project.get("config"), "Pulumi.yaml")
    given = _section(_load_yaml(file).get("config"), file.name)

    values: dict[str, Any] = {}
    for key, entry in declared.items():
        if isinstance(entry, dict):
            entry = entry.get("value", entry.get("default"))
        if entry is not None:
            values[_full_key(key, name)] = entry
    values.update({_full_key(key, name): entry for key, entry in given.items()})
    values = overridden(values, overrides)

    config: dict[str, str] = {}
    secret_keys: list[str] = []
    for key, entry in values.items():
        plain, secret = _without_ciphertext(entry, key, monitor)
        if secret:
            secret_keys.append(key)
        match plain:
            case str():
                config[key] = plain
            case None:
                config[key] = ""
            case _:  # also true and false, which the engine passes in lower case
                config[key] = json.dumps(plain, default=str)
    return config, secret_keys


def _without_ciphertext(value: Any, key: str, monitor: RecordingMonitor) -> tuple[Any, bool]:
    """``value`` with a sentinel for each ``secure:`` value, which only the stack's passphrase could open."""
    if isinstance(value, dict):
        if set(value) == {"secure"} and isinstance(value["secure"], str):
            return monitor.sentinel("config", key, "value", key), True
        parts = {k: _without_ciphertext(v, f"{key}.{k}", monitor) for k, v in value.items()}
        return {k: part for k, (part, _) in parts.items()}, any(secret for _, secret in parts.values())
    if isinstance(value, list):
        items = [_without_ciphertext(v, f"{key}[{i}]", monitor) for i, v in enumerate(value)]
        return [item for item, _ in items], any(secret for _, secret in items)
    return value, False


def _full_key(key: str, project: str) -> str:
    return key if ":" in key else f"{project}:{key}"


def _section(value: Any, file: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UserError(f"{file}: config: expected a mapping of keys to values, found {type(value).__name__}")
    return {str(key): entry for key, entry in value.items()}


def _load_yaml(file: Path) -> dict[str, Any]:
    if not file.exists():
        raise UserError(f"{file.name}: no such file in {file.parent}")
    # The settings' reader: a plain one would write out what aliases mean, and never end.
    return read(file, file.name).data


def _shown(path: Path, root: Path) -> str:
    """Relative to the project, so that a message names no machine's folders."""
    return str(path.relative_to(root)) if path.is_relative_to(root) else path.name
