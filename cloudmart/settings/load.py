"""catalog.yaml and a stack's configuration in, one frozen ``Settings`` out.

A stack's file overrides the catalog by deep merge: mappings are merged key by key, everything else is replaced, and
``null`` takes a key away (an optional part is then off, a service is then gone).
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from cloudmart.errors import UserError, meant
from cloudmart.settings.base import SERVICE_NAME
from cloudmart.settings.data import StoreMode
from cloudmart.settings.model import Declaration, Settings
from cloudmart.settings.prices import WHOLE_STACK
from cloudmart.settings.problems import Origin, explained, place
from cloudmart.settings.rules import rulings
from cloudmart.settings.service import Route, RouteAuth
from cloudmart.settings.source import Document, Path_, dotted, read, read_json, shown

CATALOG = "catalog.yaml"
PREFIX = "cloudmart:"

#: Configuration keys that hold secrets. They are read by the program as secret outputs and never become settings.
SECRET_KEYS = frozenset({"postgresPassword", "redisPassword", "kafkaPassword"})


#: What Pulumi itself keeps in a stack's file.
STACK_KEYS = ("config", "environment", "secretsprovider", "encryptedkey", "encryptionsalt")

_PROJECT = "Pulumi.yaml"
_MOST_PROBLEMS = 50

#: Services of a store are named after it and one of these.
_STORE_SERVICES = ("service", "headless")


DEFAULT = Origin("default")


@dataclass(frozen=True)
class Loaded:
    """Settings, and the origin of every key path that was written somewhere."""

    settings: Settings
    origins: Mapping[Path_, Origin]

    def origin_of(self, path: Path_) -> Origin:
        """The origin of a path: its own, or the model's default."""
        return self.origins.get(path, DEFAULT)


def stack_file(stack: str) -> str:
    """Name of a stack's file, as Pulumi names it."""
    return f"Pulumi.{stack}.yaml"


def policy_config(stack: str) -> str:
    """Where a stack configures the policy pack, and with it what admission enforces. Raises ``UserError`` for a name
    that no stack can have."""
    _check_name(stack)
    return f"policy/config/{stack}.json"


def stacks(root: Path) -> list[str]:
    """The stacks that have a file under `root`, sorted."""
    return sorted(path.name[len("Pulumi.") : -len(".yaml")] for path in root.glob("Pulumi.*.yaml"))


def _check_name(stack: str) -> None:
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", stack):
        raise UserError(f"stack: found {shown(stack)}; allowed: a-z, 0-9 and '-', up to 63 of them")


def load(stack: str, root: Path, engine_config: Mapping[str, str] | None = None) -> Settings:
    """The settings of a stack. See `load_with_origins`."""
    return load_with_origins(stack, root, engine_config).settings


def load_with_origins(stack: str, root: Path, engine_config: Mapping[str, str] | None = None) -> Loaded:
    """Reads ``catalog.yaml`` and ``Pulumi.<stack>.yaml`` under `root`; with the layer admission on, also the policy
    pack's configuration of the stack, whose rules that layer enforces.

    `engine_config` is what a Pulumi engine handed to the program, without secrets (keys with their namespace,
    structured values as JSON). It has the last word, because ``pulumi up -c key=value`` and ``--config-file`` are in it
    and not in the file.

    Raises ``UserError``, one line a problem: file, line, key path, what was found, what is allowed.
    """
    _check_name(stack)
    catalog = read(root / CATALOG, CATALOG)
    name = stack_file(stack)
    path = root / name
    if not path.is_file() and not engine_config:
        known = stacks(root)
        raise UserError(
            f"{name}: no such file{meant(stack, known)}; stacks that have one: {', '.join(known) or 'none'}"
        )
    document = read(path, name) if path.is_file() else Document(name, {}, {})
    given = None if engine_config is None else tuple(engine_config.items())
    loaded = _loaded(stack, _project(root), catalog, document, given)
    if loaded.settings.admission.enabled:
        name = policy_config(stack)
        centers = loaded.settings.cost_centers
        rules = rulings(read_json(root / name, name), centers, name)
        return Loaded(loaded.settings.with_rules(rules), loaded.origins)
    return loaded


def _project(root: Path) -> str:
    """The project's name. What all stacks have stands in the catalog: another place for it would be another answer."""
    path = root / _PROJECT
    document = read(path, _PROJECT) if path.is_file() else Document(_PROJECT, {}, {})
    name, config = str(document.data.get("name")), document.data.get("config")
    for key, entry in config.items() if isinstance(config, dict) else ():
        declares_alone = isinstance(entry, dict) and not entry.keys() & {"value", "default"}
        if (key if ":" in key else f"{name}:{key}").startswith(PREFIX) and not declares_alone:
            where = f"{_PROJECT}:{document.lines[('config', key)]}: {dotted(('config', key))}"
            raise UserError(f"{where}: found a setting; allowed: in {CATALOG}, or in a stack's file")
    return name


# The program and the preview that runs it load the same; documents are the same where their bytes are.
@functools.lru_cache(maxsize=4)
def _loaded(
    stack: str, project: str, catalog: Document, document: Document, engine_config: tuple[tuple[str, str], ...] | None
) -> Loaded:
    config, files = _stack_config(document, None if engine_config is None else dict(engine_config), project)
    if problems := list(_unknown_services(catalog.data.get("services"), config.get("services"), files)):
        raise UserError("\n".join(problems))
    origins: dict[Path_, Origin] = {}
    tree: dict[str, Any] = {}
    _merge(tree, catalog.data, (), origins, lambda path: Origin(CATALOG, catalog.lines.get(path)))
    _merge(tree, config, (), origins, lambda path: files.get(path) or Origin("Pulumi config"))
    try:
        # By alias alone: a key in snake case would be a second name for the same thing, and win or lose in silence.
        settings = Settings.model_validate({**tree, "stack": stack}, by_alias=True, by_name=False)
    except ValidationError as error:
        lines = explained(error, Declaration, tree, origins, CATALOG, most=_MOST_PROBLEMS)
        raise UserError("\n".join(lines)) from None
    if problems := list(_cross_checked(settings, origins)):
        raise UserError("\n".join(problems))
    return Loaded(settings, origins)


def _stack_config(
    document: Document, engine_config: Mapping[str, str] | None, project: str
) -> tuple[dict[str, Any], dict[Path_, Origin]]:
    name = document.name
    config: dict[str, Any] = {}
    files: dict[Path_, Origin] = {}
    for key in document.data:
        if key not in STACK_KEYS:
            where = f"{name}:{document.lines[(key,)]}: {dotted((key,))}"
            raise UserError(f"{where}: found an unknown key{meant(key, STACK_KEYS)}; allowed: {', '.join(STACK_KEYS)}")
    block = document.data.get("config")
    if block is not None and not isinstance(block, dict):
        raise UserError(f"{name}:{document.lines[('config',)]}: config: found {shown(block)}; allowed: a mapping")
    for key, value in (block or {}).items():
        where = f"{name}:{document.lines[('config', key)]}: {dotted(('config', key))}"
        namespace, colon, top = key.partition(":")
        if not colon and project != PREFIX[:-1]:
            continue  # as Pulumi reads it, one of the project's own
        if not colon:
            raise UserError(f"{where}: found a key without a namespace; allowed: {PREFIX}{key}, or another provider's")
        if namespace + colon != PREFIX:
            if namespace != project and (hint := meant(namespace, [PREFIX[:-1]])):
                raise UserError(f"{where}: found the namespace {shown(namespace)}{hint}; allowed: {PREFIX}{top}")
            continue  # another provider's own configuration
        is_secret = isinstance(value, dict) and value.keys() == {"secure"}
        if top in SECRET_KEYS:
            if not is_secret:
                raise UserError(
                    f"{where}: found a value in plain text; allowed: a secret, as "
                    f"`pulumi config set --secret {top}` writes it"
                )
            continue
        _known_key(top, where)
        if secret := _secret_within(value, ("config", key)):
            # The engine calls the whole key secret then, so the program would run without any of it.
            raise UserError(
                f"{name}:{document.lines[secret]}: {dotted(secret)}: found a secret; allowed: a plain value, or a "
                "Kubernetes Secret through secretEnv"
            )
        config[top] = value
    for path_, line in document.lines.items():
        if len(path_) > 1 and path_[0] == "config" and str(path_[1]).startswith(PREFIX):
            files[(str(path_[1])[len(PREFIX) :], *path_[2:])] = Origin(name, line)
    for key, text in (engine_config or {}).items():
        top = key[len(PREFIX) :]
        if not key.startswith(PREFIX) or top in SECRET_KEYS:
            continue
        _known_key(top, f"Pulumi config: {key}")
        value = _engine_value(text)
        # Text such as "123" in the file is text to the engine too, though it reads as JSON.
        if config.get(top) not in (value, text):
            config[top] = value
            files = {path_: origin for path_, origin in files.items() if path_[0] != top}
    if engine_config is not None:
        # What the file says and the engine does not (another file was given to it) is not this run's configuration.
        config = {top: value for top, value in config.items() if PREFIX + top in engine_config}
    return config, files


def _secret_within(value: Any, path: Path_) -> Path_ | None:
    """The path of the first encrypted value in a tree."""
    if isinstance(value, dict) and value.keys() == {"secure"}:
        return path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return next((found for key, item in items if (found := _secret_within(item, (*path, key)))), None)


def _known_key(key: str, where: str) -> None:
    allowed = [field.alias or name for name, field in Declaration.model_fields.items()]
    if key not in allowed:
        raise UserError(f"{where}: found an unknown key{meant(key, allowed)}; allowed: {', '.join(allowed)}")


def _engine_value(text: str) -> Any:
    if text == "":
        return None  # how the engine passes on a null
    try:
        return json.loads(text)
    except ValueError:
        return text


def _merge(
    into: dict[str, Any], over: Mapping[str, Any], path: Path_, origins: dict[Path_, Origin], origin_of: Any
) -> None:
    for key, value in over.items():
        here = (*path, key)
        merged = isinstance(value, dict) and isinstance(into.get(key), dict)
        if key in into and not merged:
            _forget(origins, here, into[key])
        if value is None:
            into.pop(key, None)
            origins[here] = origin_of(here)  # for the error, where the key was required
        elif merged:
            _merge(into[key], value, here, origins, origin_of)
        elif isinstance(value, dict):
            into[key] = {}
            origins[here] = origin_of(here)
            _merge(into[key], value, here, origins, origin_of)
        else:
            into[key] = value
            origins[here] = origin_of(here)
            if isinstance(value, list):
                for index in range(len(value)):
                    origins[(*here, index)] = origin_of((*here, index))


def _forget(origins: dict[Path_, Origin], path: Path_, value: Any) -> None:
    """Takes away the origins of a value and of all that is in it; to look through all of them would take as long as
    there are values, for each that a stack replaces."""
    origins.pop(path, None)
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in items:
        _forget(origins, (*path, key), below)


# --- errors ----------------------------------------------------------------------------------------------------------


def _where(path: Path_, origins: Mapping[Path_, Origin]) -> str:
    return place(path, origins, CATALOG)


def _unknown_services(known: Any, changed: Any, files: Mapping[Path_, Origin]) -> Iterable[str]:
    # Else a misspelt name would be a new service that lacks nearly everything.
    if not isinstance(known, dict) or not isinstance(changed, dict):
        return
    # Nobody has checked the names yet: what cannot be printed would break the line.
    bad = [name for name in known if not re.fullmatch(SERVICE_NAME, name)]
    names = [name for name in known if name not in bad]
    for name, part in changed.items():
        if name not in known and isinstance(part, dict) and "description" not in part:
            where = place(("services", name), files, "Pulumi config")
            allowed = ", ".join([*names, "or a whole new one"])
            # Those that cannot be names may be the ones that were meant.
            known_badly = f" ({CATALOG} has {', '.join(map(shown, bad))}, which cannot be a name)" if bad else ""
            yield f"{where}: found an unknown service{meant(name, names)}{known_badly}; allowed: {allowed}"


# --- what no single model can see ------------------------------------------------------------------------------------


def _cross_checked(settings: Settings, origins: Mapping[Path_, Origin]) -> Iterable[str]:
    yield from _cost_centers(settings, origins)
    yield from _namespaces(settings, origins)
    yield from _edges(settings, origins)
    yield from _routes(settings, origins)
    yield from _money(settings, origins)
    yield from _users_of_stores(settings, origins)
    yield from _rotations(settings, origins)


def _cost_centers(settings: Settings, origins: Mapping[Path_, Origin]) -> Iterable[str]:
    codes = list(settings.cost_centers)

    def walk(model: BaseModel, path: Path_) -> Iterable[tuple[Path_, str]]:
        for name, field in type(model).model_fields.items():
            value, here = getattr(model, name), (*path, field.alias or name)
            if name == "cost_center" and value is not None:
                yield here, value
            elif isinstance(value, BaseModel):
                yield from walk(value, here)
            elif isinstance(value, Mapping):
                for key, item in value.items():
                    if isinstance(item, BaseModel):
                        yield from walk(item, (*here, key))

    for path, code in walk(settings, ()):
        if code not in settings.cost_centers:
            yield (
                f"{_where(path, origins)}: found {shown(code)}{meant(code, codes)}; allowed, from costCenters: "
                f"{', '.join(codes) or 'none'}"
            )


def _namespaces(settings: Settings, origins: Mapping[Path_, Origin]) -> Iterable[str]:
    taken = {settings.namespace.name: "the shop's"}
    for key, layer in settings.layers.items():
        if whose := taken.get(layer.namespace):
            yield (
                f"{_where((*key.split('.'), 'namespace'), origins)}: found {shown(layer.namespace)}, {whose}; "
                "allowed: a namespace of its own"
            )
        taken.setdefault(layer.namespace, f"that of {key}")


def _money(settings: Settings, origins: Mapping[Path_, Origin]) -> Iterable[str]:
    stores = settings.stores
    for path, names, allowed in (
        (("budgets",), settings.budgets, [*settings.cost_centers, WHOLE_STACK]),
        (("prices", "load"), settings.prices.load, list(settings.services)),
        (("prices", "egressGib"), settings.prices.egress_gib, [*settings.services, *stores]),
    ):
        for name in names:
            if name not in allowed:
                where = _where((*path, name), origins)
                yield f"{where}: found {shown(name)}{meant(name, allowed)}; allowed: {', '.join(allowed)}"


def _rotations(settings: Settings, origins: Mapping[Path_, Origin]) -> Iterable[str]:
    # A stack may run its stores in another way for once, as on the local cluster.
    known = sorted(settings.possible_passwords)
    for name in settings.secrets.rotations:
        if name not in known:
            yield (
                f"{_where(('secrets', 'rotations', name), origins)}: found {shown(name)}{meant(name, known)}; "
                f"allowed, of the passwords that are generated: {', '.join(known) or 'none'}"
            )


def _edges(settings: Settings, origins: Mapping[Path_, Origin]) -> Iterable[str]:
    stores = settings.stores
    # Names of objects that the namespace has anyway.
    objects = {"default", "default-deny", "allow-dns", *(f"{store}-{of}" for store in stores for of in _STORE_SERVICES)}
    for path, taken, others in (
        ("externals", settings.externals, {*stores, *settings.services}),
        ("services", settings.services, {*stores, *objects}),
    ):
        for name in taken:
            if name in others:
                yield f"{_where((path, name), origins)}: found a name that is taken; allowed: one of its own"
    targets = list(dict.fromkeys([*settings.services, *stores, *settings.externals]))
    for name, service in settings.services.items():
        for index, target in enumerate(service.needs):
            if target not in targets:
                yield (
                    f"{_where(('services', name, 'needs', index), origins)}: found {shown(target)}"
                    f"{meant(target, targets)}; allowed: {', '.join(t for t in targets if t != name)}"
                )
    if cycle := _cycle({name: service.needs for name, service in settings.services.items()}):
        where = _where(("services", cycle[0], "needs"), origins)
        yield f"{where}: found a cycle, {' -> '.join(cycle)}; allowed: needs that lead back to nobody"


def _routes(settings: Settings, origins: Mapping[Path_, Origin]) -> Iterable[str]:
    identity, earlier = settings.identity, dict[str, list[tuple[str, Route]]]()
    for name, service in settings.services.items():
        for index, route in enumerate(service.routes):
            where = _where(("services", name, "routes", index), origins)
            for other, taken in earlier.get(route.path, ()):
                if route.overlaps(taken):
                    yield (
                        f"{where}: found {_request(route)} of {name}, which {other} takes as {_request(taken)}; "
                        "allowed: each method of a path in one route"
                    )
            earlier.setdefault(route.path, []).append((name, route))
            if route.auth is not RouteAuth.JWT:
                continue
            if identity is None:
                yield (
                    f"{where}: found auth jwt without an issuer of tokens; allowed: auth anonymous, or an issuer under "
                    "identity"
                )
            elif settings.gateway.enabled and not identity.has_public_key:
                yield (
                    f"{where}: found auth jwt without a key that the gateway can check tokens with; allowed: auth "
                    "anonymous, or one of identity.publicKeySecret and identity.publicKeyPem"
                )


def _request(route: Route) -> str:
    return f"{','.join(route.methods) or 'every method of'} {route.path}"


def _users_of_stores(settings: Settings, origins: Mapping[Path_, Origin]) -> Iterable[str]:
    """Topics that exist, for those who reach Kafka; and names that a store in mode `operator` can make users of."""
    kafka, postgres = settings.data.kafka, settings.data.postgres
    known = list(kafka.topics) if kafka else []
    for name, service in settings.services.items():
        path = ("services", name, "topics")
        used = {"produces": service.topics.produces, "consumes": service.topics.consumes}
        for key, topics in used.items():
            for index, topic in enumerate(topics):
                if topic not in known:
                    yield (
                        f"{_where((*path, key, index), origins)}: found {shown(topic)}{meant(topic, known)}; allowed, "
                        f"from data.kafka.topics: {', '.join(known) or 'none'}"
                    )
        needs_kafka = "kafka" in service.needs
        # A need that is misspelt may be this one, and has been told.
        understood = {*settings.services, *settings.stores, *settings.externals} >= {*service.needs}
        if any(used.values()) and not needs_kafka and understood:
            yield f"{_where(path, origins)}: found topics, but no need of kafka; allowed: both or neither"
        if needs_kafka and not any(used.values()) and kafka and kafka.mode is StoreMode.OPERATOR:
            yield (
                f"{_where(('services', name), origins)}: found a need of kafka, but no topics, without which its user "
                "may do nothing there; allowed: topics with produces, consumes or both"
            )
        if "postgres" in service.needs and postgres and postgres.mode is StoreMode.OPERATOR and name == postgres.user:
            yield (
                f"{_where(('services', name), origins)}: found the name of the database's owner (data.postgres.user), "
                "and in mode operator every service has a role of its own name; allowed: another name for one of them"
            )


def _cycle(needs: Mapping[str, tuple[str, ...]]) -> list[str] | None:
    """The names along a cycle, its first one repeated at the end; iterative, so that long chains are no problem."""
    done: set[str] = set()
    for start in needs:
        trail: list[str] = []
        stack = [(start, iter(needs[start]))] if start not in done else []
        if stack:
            trail.append(start)
        while stack:
            name, rest = stack[-1]
            for target in rest:
                if target in trail:
                    return [*trail[trail.index(target) :], target]
                if target in needs and target not in done:
                    trail.append(target)
                    stack.append((target, iter(needs[target])))
                    break
            else:
                done.add(name)
                trail.pop()
                stack.pop()
    return None
