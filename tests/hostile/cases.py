"""The hostile inputs, made from a seed: what is put where, which command meets it, and what it may answer."""

from __future__ import annotations

import io
import json
import random
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from cloudmart.finops.actual import AGGREGATE
from tests.hostile.payloads import (
    JSON_FILES,
    NOT_JSON_NUMBERS,
    NUMBERS,
    OUTSIDE,
    TAGS,
    TEXTS,
    YAML_FILES,
    YAML_NUMBERS,
    lol,
    merges,
)
from tests.hostile.server import BODIES, WAYS
from tests.unit.allocation_api import entry

ROOT = Path(__file__).resolve().parents[2]
#: Stand for folders and addresses of a run.
PROJECT, OUT, URL = "@PROJECT@", "@OUT@", "@URL@"


@dataclass(frozen=True)
class Special:
    """Something else than a file with bytes: ``fifo``, ``folder``, ``link`` (to `target`), and ``bomb``, an
    archive whose first file is 350 MiB of blanks."""

    kind: str
    target: str = ""


Files = dict[str, bytes | Special]


@dataclass(frozen=True)
class Case:
    """One input and one command. Names of files are relative to the case's folder."""

    name: str
    argv: tuple[str, ...]
    files: Mapping[str, bytes | Special] = field(default_factory=dict)
    #: What the error has to name: one of these texts.
    names: tuple[str, ...] = ()
    #: True: it must be refused. False: it must be accepted. None: either, and what is accepted comes out escaped.
    refused: bool | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    #: A function of :mod:`tests.hostile.calls` instead of the command line, given `argv`.
    call: str = ""

    @property
    def group(self) -> str:
        return self.name.partition("/")[0]


Place = tuple[str | int, ...]


def _at(tree: Any, path: Place) -> Any:
    for part in path:
        tree = tree[part]
    return tree


def _places(tree: Any, path: Place = ()) -> Iterator[Place]:
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ():
        yield (*path, key)
        yield from _places(value, (*path, key))


def _root(*words: str) -> tuple[str, ...]:
    return (*words, "--root", PROJECT)


SHOW = _root("config", "show", "--stack", "dev")
LOOKS = (
    SHOW,
    (*SHOW, "--format", "json"),
    _root("graph", "--stack", "dev", "--format", "svg"),
    _root("graph", "--stack", "dev", "--format", "mermaid"),
)


def _yaml(tree: Any) -> bytes:
    """JSON, which is YAML: nothing in it is quoted away by a writer of YAML."""
    return json.dumps(tree).encode()


class _Spelled(str):
    """Goes into the file as it is spelled."""


def _spelled(tree: Any, path: Place, spelling: str) -> bytes:
    copied = json.loads(json.dumps(tree, default=str))
    _at(copied, path[:-1])[path[-1]] = "@SPELLED@"
    return _yaml(copied).replace(b'"@SPELLED@"', spelling.encode("utf-8", "surrogatepass"))


def _settings(chance: random.Random, file: str, count: int) -> Iterator[Case]:
    """Catalog or stack: whole files, and hostile values and keys at places of the real one."""
    group = "catalog" if file == "catalog.yaml" else "stack"
    named = (file, "Pulumi.dev.yaml")
    tree = yaml.safe_load((ROOT / file).read_text())
    places = sorted(_places(tree), key=str)
    target = f"project/{file}"
    for name, content in YAML_FILES.items():
        yield Case(f"{group}/file-{name}", SHOW, {target: content}, named, None if group == "stack" else True)
    for kind in ("fifo", "folder", "dangling", "loop", "device"):
        special = {
            "fifo": Special("fifo"),
            "folder": Special("folder"),
            "dangling": Special("link", "nowhere"),
            "loop": Special("link", file),
            "device": Special("link", "/dev/zero"),
        }[kind]
        yield Case(f"{group}/is-a-{kind}", SHOW, {target: special}, named, True)
    text = (ROOT / file).read_bytes()
    whole: dict[str, bytes] = {
        "bomb-beside": text + lol().encode(),
        "merges-beside": text + merges().encode(),
        "bom-before": b"\xef\xbb\xbf" + text,
        "utf16": text.decode().encode("utf-16"),
        "utf32": text.decode().encode("utf-32"),
        "carriage-returns": text.replace(b"\n", b"\r"),
        "nul-after": text + b"\x00",
        "twice": text + text,
        "two-documents": text + b"---\n" + text,
        "invalid-byte": text.replace(b"\n", b"\xff\n", 1),
    }
    for name, content in whole.items():
        yield Case(f"{group}/{name}", SHOW, {target: content}, named)
    for index in range(count):
        path = chance.choice(places)
        what = chance.choice(("text", "text", "text", "number", "number", "tag", "key", "list", "many"))
        look = chance.choice(LOOKS)
        if what == "text":
            content = _spelled(tree, path, json.dumps(chance.choice(TEXTS)))
        elif what == "number":
            content = _spelled(tree, path, chance.choice((*NUMBERS, *YAML_NUMBERS)))
        elif what == "tag":
            content = _spelled(tree, path, chance.choice(TAGS))
        elif what == "list":
            content = _spelled(tree, path, json.dumps([chance.choice(TEXTS) for _ in range(chance.randrange(2000))]))
        elif what == "many":
            content = _spelled(tree, path, json.dumps({f"k{n}": {} for n in range(5000)}))
        else:
            copied = json.loads(json.dumps(tree, default=str))
            holder = _at(copied, path[:-1])
            if isinstance(holder, dict):
                holder[chance.choice(TEXTS)] = holder.pop(path[-1])
            content = _yaml(copied)
        yield Case(f"{group}/{what}-{index}", look, {target: content}, named)


def _programs() -> Iterator[Case]:
    """Files that the recording of the program reads before the settings do."""
    argv = _root("preview", "--stack", "dev")
    for file in ("Pulumi.yaml", "Pulumi.dev.yaml"):
        text = (ROOT / file).read_bytes()
        for name in (
            "bomb",
            "merge-bomb",
            "self",
            "deep-block",
            "deep-flow-closed",
            "number-3",
            "tag-8",
            "utf16",
            "tag-0",
        ):
            yield Case(f"program/{file}-{name}", argv, {f"project/{file}": YAML_FILES[name]}, (file,))
        bomb = text + b"config:\n" if b"config:" not in text else text
        bomb += b"".join(b"  x:%s\n" % line.replace(b"a", b"a", 1) for line in lol().encode().splitlines())
        yield Case(f"program/{file}-config-bomb", argv, {f"project/{file}": bomb}, (file,), True)
        for kind, special in (
            ("fifo", Special("fifo")),
            ("folder", Special("folder")),
            ("device", Special("link", "/dev/zero")),
        ):
            yield Case(f"program/{file}-{kind}", argv, {f"project/{file}": special}, (file,), True)


def _descriptions() -> Iterator[Case]:
    """Free text of the settings, through everything that prints it."""
    tree = yaml.safe_load((ROOT / "catalog.yaml").read_text())
    for index, text in enumerate(TEXTS):
        tree["services"]["user-service"]["description"] = text
        tree["costCenters"]["CC-2001"] = {"name": text, "owner": text}
        tree["services"]["user-service"]["env"] = {"LOG_LEVEL": text}
        yield Case(f"catalog/description-{index}", SHOW, {"project/catalog.yaml": _yaml(tree)}, ("catalog.yaml",))


def _price_books(chance: random.Random, count: int) -> Iterator[Case]:
    show = _root("prices", "show", "--stack", "dev")
    stack = (ROOT / "Pulumi.dev.yaml").read_text() + "  cloudmart:prices: {book: book.yaml}\n"
    book = yaml.safe_load((ROOT / "cloudmart/finops/opencost-default-prices.yaml").read_text())
    files: dict[str, bytes | Special] = {
        **YAML_FILES,
        "fifo": Special("fifo"),
        "folder": Special("folder"),
        "device": Special("link", "/dev/zero"),
        "loop": Special("link", "book.yaml"),
        "secret": Special("link", f"{OUTSIDE}/secret"),
    }
    for name, content in files.items():
        beside = {"project/Pulumi.dev.yaml": stack.encode(), "project/book.yaml": content}
        yield Case(f"prices/file-{name}", show, beside, ("book.yaml",), True)
    for index, book_path in enumerate(
        (
            f"../../..{OUTSIDE}/secret.yaml",
            f"{OUTSIDE}/secret.yaml",
            "../outside/secret.yaml",
            "./../x.yaml",
            "a\x00.yaml",
        )
    ):
        content = stack.replace("book.yaml", json.dumps(book_path)).encode()
        yield Case(f"prices/path-{index}", show, {"project/Pulumi.dev.yaml": content}, ("book", "yaml"), True)
    places = sorted(_places(book), key=str)
    for index in range(count):
        path, format_ = chance.choice(places), chance.choice(("text", "json"))
        spelling = chance.choice(
            (json.dumps(chance.choice(TEXTS)), chance.choice((*NUMBERS, *YAML_NUMBERS)), chance.choice(TAGS))
        )
        content = _spelled(book, path, spelling)
        beside = {"project/Pulumi.dev.yaml": stack.encode(), "project/book.yaml": content}
        yield Case(f"prices/value-{index}", (*show, "--format", format_), beside, ("book.yaml", "cloudmart:prices"))


def _policies(chance: random.Random, count: int) -> Iterator[Case]:
    target = "project/policy/config/dev.json"
    named = ("dev.json",)
    config = json.loads((ROOT / "policy/config/dev.json").read_text())
    specials: Files = {
        "fifo": Special("fifo"),
        "folder": Special("folder"),
        "device": Special("link", "/dev/zero"),
        "loop": Special("link", "dev.json"),
    }
    for name, content in {**JSON_FILES, **specials}.items():
        yield Case(f"policy/file-{name}", SHOW, {target: content}, named, None)
    given = ("preview", "--stack", "dev", "--root", PROJECT, "--policy-config", "given.json")
    for name, special in {**JSON_FILES, **specials}.items():
        yield Case(f"policy/given-{name}", given, {"given.json": special}, ("given.json",), True)
    places = sorted(_places(config), key=str)
    for index in range(count):
        path = chance.choice(places)
        spelling = chance.choice((json.dumps(chance.choice(TEXTS)), chance.choice((*NUMBERS, *NOT_JSON_NUMBERS))))
        if chance.random() < 0.3:
            copied = json.loads(json.dumps(config))
            holder = _at(copied, path[:-1])
            holder[chance.choice(TEXTS)] = holder.pop(path[-1])
            content = json.dumps(copied).encode()
        else:
            content = _spelled(config, path, spelling)
        yield Case(f"policy/value-{index}", SHOW, {target: content}, named)


def _resource(urn: str, **fields: Any) -> dict[str, Any]:
    inputs = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "cloudmart"}}
    return {
        "urn": urn,
        "type": "kubernetes:core/v1:ConfigMap",
        "custom": True,
        "inputs": inputs,
        "outputs": inputs,
        **fields,
    }


_URN = "urn:pulumi:dev::cloudmart::kubernetes:core/v1:ConfigMap::"


def _states(chance: random.Random, count: int) -> Iterator[Case]:
    """What `pulumi stack export` and `pulumi preview --json` are said to have printed."""
    for option, name in (("--against", "state.json"), ("--plan", "plan.json")):
        specials: Files = {"fifo": Special("fifo"), "folder": Special("folder"), "device": Special("link", "/dev/zero")}
        for kind, content in {**JSON_FILES, **specials}.items():
            argv: tuple[str, ...] = ("preview", "--stack", "dev", "--root", PROJECT, option, name)
            yield Case(f"state{option}/file-{kind}", argv, {name: content}, (option, option[2:], name), True)
    deployment: dict[str, dict[str, Any]] = {
        "apps": {"type": "kubernetes:apps/v1:Deployment"},
        "inputs": {"inputs": 7},
        "urn": {"urn": None},
        "ignore": {"ignoreChanges": 7},
        "type": {"type": ["x"]},
        "deep": {},
    }
    shapes: list[Any] = [
        {"deployment": 7},
        {"deployment": {"resources": 7}},
        {"deployment": {"resources": [7, None, [], "x"]}},
        {"steps": 7},
        {"steps": [7, None]},
        {"steps": [], "diagnostics": 7},
        {"steps": [], "diagnostics": [7]},
        {"steps": [{"op": "replace", "urn": _URN + "x", "replaceReasons": 7, "newState": _resource(_URN + "x")}]},
        {"steps": [{"op": ["create"], "urn": {}, "newState": 7}]},
        {"steps": [{"op": "update", "urn": _URN + "x", "oldState": {"inputs": 7, "urn": _URN + "x"}, "newState": 7}]},
        {"diagnostics": [{"severity": "error", "message": "\x1b[2J" + "A" * 100_000 + "\u202e"}]},
        {"diagnostics": [{"severity": "error", "message": 7}]},
        *({"deployment": {"resources": [_resource(_URN + key) | change]}} for key, change in deployment.items()),
    ]
    for index, shape in enumerate(shapes):
        option = "--against" if "deployment" in shape else "--plan"
        argv = ("preview", "--stack", "dev", "--root", PROJECT, option, "x.json")
        yield Case(f"state{option}/shape-{index}", argv, {"x.json": json.dumps(shape).encode()}, ("x.json",))
    for index in range(count):
        text = chance.choice(TEXTS)
        manifest = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": text, "namespace": text, "labels": {text: text}},
            "spec": {
                "replicas": chance.choice((1, -1, 1e300, "many", None, 10**40)),
                "template": {
                    "spec": {
                        "containers": [
                            {
                                "name": text,
                                "image": text,
                                "resources": {"requests": {"cpu": chance.choice(("1e999", "-1", text, 7, "9" * 400))}},
                            }
                        ]
                    }
                },
            },
        }
        urn = f"urn:pulumi:dev::cloudmart::kubernetes:apps/v1:Deployment::{text}"
        resource = _resource(urn, type="kubernetes:apps/v1:Deployment", inputs=manifest)
        option, data = chance.choice(
            (
                ("--against", {"deployment": {"resources": [resource]}}),
                (
                    "--plan",
                    {
                        "steps": [
                            {
                                "op": chance.choice(("create", "update", "replace", "delete")),
                                "urn": urn,
                                "oldState": resource,
                                "newState": resource,
                                "replaceReasons": [text],
                            }
                        ]
                    },
                ),
            )
        )
        format_ = chance.choice(("text", "json", "markdown"))
        argv = ("preview", "--stack", "dev", "--root", PROJECT, option, "x.json", "--format", format_)
        yield Case(f"state{option}/resource-{index}", argv, {"x.json": json.dumps(data).encode()}, ("x.json",))


def _allocations() -> Iterator[Case]:
    formats = ("text", "json", "csv", "markdown", "html")
    window = "2026-11-22T00:00:00Z,2026-11-23T00:00:00Z"
    for index, name in enumerate((*BODIES, *WAYS)):
        if name.startswith("prometheus"):
            continue
        argv = _root("cost", "--url", f"{URL}/{name}/model", "--window", window, "--timeout", "2", "--no-trend")
        argv = (*argv, "--format", formats[index % len(formats)])
        yield Case(f"allocation/{name}", argv, {}, (URL,), (name == "good" and False) or None)
    for index, name in enumerate((*(b for b in BODIES if not b.startswith("text")), *WAYS)):
        if "drip" in name or name == "silent":
            continue  # its time limit is a minute, and no option
        if name.startswith(("prometheus", "json-deep", "html", "good")) or index % 6 == 0:
            argv = _root("rightsize", "--stack", "dev", "--prometheus", f"{URL}/{name}", "--format", "json")
            yield Case(f"prometheus/{name}", argv, {}, (URL,))


def _url_texts() -> Iterator[Case]:
    for index, url in enumerate(
        (
            "file:///etc/passwd",
            "gopher://127.0.0.1/x",
            "http://",
            "http://[::1",
            "http://user:pass@",
            "http://127.0.0.1:99999",
            "http://127.0.0.1:0",
            "http://\x1b[2J",
            "http://a\nb",
            "http://127.0.0.1/?x",
            "http://127.0.0.1/#x",
            "http://" + "a" * 5000,
            "http://" + "a." * 300 + "invalid",
            "http://ex\u202eample.invalid",
            "http://\ud800",
            "javascript:alert(1)",
            "",
        )
    ):
        yield Case(f"url/{index}", _root("cost", "--url", url, "--timeout", "2"), {}, ("url", "http", "Error"), True)
        yield Case(
            f"url/prometheus-{index}",
            _root("rightsize", "--stack", "dev", "--prometheus", url),
            {},
            ("prometheus", "http"),
            True,
        )


def _saved(chance: random.Random, count: int) -> Iterator[Case]:
    """`report --allocation`: an answer that somebody saved."""

    def argv(format_: str) -> tuple[str, ...]:
        return _root("report", "--stack", "dev", "--allocation", "saved.json", "--format", format_)

    named = ("saved.json",)
    for name, content in JSON_FILES.items():
        yield Case(f"saved/file-{name}", argv("html"), {"saved.json": content}, named, True)
    for name, special in (
        ("fifo", Special("fifo")),
        ("folder", Special("folder")),
        ("device", Special("link", "/dev/zero")),
    ):
        yield Case(f"saved/{name}", argv("html"), {"saved.json": special}, named, True)
    for index in range(count):
        texts = [chance.choice(TEXTS).replace("/", "\u2215") or "x" for _ in range(len(AGGREGATE))]
        texts[0] = chance.choice(("cloudmart", texts[0]))
        number = chance.choice((1, 0, -1, 1e308, 1e21, 5e-324))
        span = "2026-11-22T00:00:00Z,2026-11-22T01:00:00Z"
        step = {"/".join(texts): entry(span, cpuCost=number, ramCost=number, minutes=chance.choice((60, 0, -1, 1e300)))}
        content = json.dumps({"code": 200, "data": [step]}).encode()
        yield Case(f"saved/names-{index}", argv(chance.choice(("html", "markdown"))), {"saved.json": content}, named)


def _timelines(chance: random.Random, count: int) -> Iterator[Case]:
    point = {
        "minute": 0,
        "service": "user-service",
        "cpu": 0.5,
        "memory": 1e8,
        "ready": 2,
        "pending": 0,
        "least": 2,
        "most": 8,
        "requestedCpu": 0.2,
        "requestedMemory": 2e8,
        "cpuLimit": 0.3,
        "memoryLimit": 2e8,
        "monthly": 5,
    }
    timeline: dict[str, Any] = {
        "stack": "dev",
        "seed": 1,
        "speed": 60,
        "kubernetes": "v1.36.0",
        "currency": "USD",
        "tick": 3,
        "points": [{**point, "minute": minute} for minute in range(0, 1500, 3)],
    }

    def argv() -> tuple[str, ...]:
        return _root(
            "rightsize",
            "--stack",
            "dev",
            "--usage",
            "usage.json",
            "--format",
            chance.choice(("text", "json", "markdown")),
        )

    named = ("usage.json",)
    yield Case("timeline/good", argv(), {"usage.json": json.dumps(timeline).encode()}, named, False)
    for name, content in JSON_FILES.items():
        yield Case(f"timeline/file-{name}", argv(), {"usage.json": content}, named, True)
    for name, special in (
        ("fifo", Special("fifo")),
        ("folder", Special("folder")),
        ("device", Special("link", "/dev/zero")),
    ):
        yield Case(f"timeline/{name}", argv(), {"usage.json": special}, named, True)
    places = [*((key,) for key in timeline), *(("points", 3, key) for key in point)]
    for index in range(count):
        spelling = chance.choice((json.dumps(chance.choice(TEXTS)), chance.choice((*NUMBERS, *NOT_JSON_NUMBERS))))
        content = _spelled(timeline, chance.choice(places), spelling)
        yield Case(f"timeline/value-{index}", argv(), {"usage.json": content}, named)
    fast = {**timeline, "speed": 2000, "points": [{**point, "minute": minute} for minute in range(30_000)]}
    yield Case("timeline/many-points", argv(), {"usage.json": json.dumps(fast).encode()}, named)
    everywhere = json.loads(json.dumps(timeline))
    for index, number in enumerate((1e308, -1e308, 5e-324, 0, -1)):
        for one in everywhere["points"]:
            one["cpu"] = one["memory"] = number
        yield Case(f"timeline/all-{index}", argv(), {"usage.json": json.dumps(everywhere).encode()}, named)


def _profiles(chance: random.Random, count: int) -> Iterator[Case]:
    """Read by the function that `local load` reads them with, which needs no cluster."""
    load = {"shape": "wave", "cpu": {"low": "10m", "high": "1"}, "memory": {"low": "64Mi", "high": "1Gi"}}
    profile = {"services": {"user-service": load}, "sales": 2, "saleMinutes": 60}
    named = ("profile.yaml",)
    files: dict[str, bytes | Special] = {**YAML_FILES, "fifo": Special("fifo"), "device": Special("link", "/dev/zero")}
    for name, content in files.items():
        yield Case(f"profile/file-{name}", ("profile.yaml",), {"profile.yaml": content}, named, True, call="profile")
    places = sorted(_places(profile), key=str)
    for index in range(count):
        spelling = chance.choice((json.dumps(chance.choice(TEXTS)), chance.choice((*NUMBERS, *YAML_NUMBERS))))
        content = _spelled(profile, chance.choice(places), spelling)
        yield Case(f"profile/value-{index}", ("profile.yaml",), {"profile.yaml": content}, named, call="profile")


def _vpa(chance: random.Random, count: int) -> Iterator[Case]:
    timeline = next(case for case in _timelines(chance, 0) if case.name == "timeline/good").files
    argv = _root("rightsize", "--stack", "dev", "--usage", "usage.json", "--vpa", "vpa.json", "--format", "json")
    named = ("vpa.json",)
    for name, content in JSON_FILES.items():
        yield Case(f"vpa/file-{name}", argv, {**timeline, "vpa.json": content}, named, True)
    for name, special in (
        ("fifo", Special("fifo")),
        ("folder", Special("folder")),
        ("device", Special("link", "/dev/zero")),
    ):
        yield Case(f"vpa/{name}", argv, {**timeline, "vpa.json": special}, named, True)
    for index in range(count):
        bound: dict[str, Any] = {
            "cpu": chance.choice(("-1", "1e999", "nan", "nanu", "infu", "-5u", 7, None, *TEXTS)),
            "memory": "1Mi",
        }
        bound["memory"] = chance.choice(("1Mi", "-1", "9" * 400, "1e9", [], *TEXTS[:5]))
        item = {
            "spec": {"targetRef": {"name": "user-service"}},
            "status": {"recommendation": {"containerRecommendations": [{"lowerBound": bound}]}},
        }
        content = json.dumps({"items": [item]}).encode()
        yield Case(f"vpa/value-{index}", argv, {**timeline, "vpa.json": content}, named)


def _charts() -> Iterator[Case]:
    """Charts as a path, in the settings and as folders and archives on disk, for the check before `up`."""
    stack = (ROOT / "Pulumi.dev.yaml").read_text()
    for index, text in enumerate(TEXTS):
        kubecost = {"chart": {("path", "repo", "oci", "version")[index % 4]: text}}
        tree = yaml.safe_load(stack)
        tree["config"]["cloudmart:kubecost"].update(kubecost)
        content = _yaml(tree)
        yield Case(
            f"chart/setting-{index}", SHOW, {"project/Pulumi.dev.yaml": content}, ("Pulumi.dev.yaml", "catalog.yaml")
        )
    for name, content in YAML_FILES.items():
        yield Case(f"chart/file-{name}", ("chart",), {"chart/Chart.yaml": content}, ("chart",), True, call="chart")
    odd: dict[str, Files] = {
        "fifo": {"chart/Chart.yaml": Special("fifo")},
        "device": {"chart/Chart.yaml": Special("link", "/dev/zero")},
        "folder": {"chart/Chart.yaml": Special("folder")},
        "archive-fifo": {"chart": Special("fifo")},
        "archive-device": {"chart": Special("link", "/dev/zero")},
        "archive-garbage": {"chart": b"\x1f\x8b\x08garbage"},
        "archive-bomb": {"chart": Special("bomb")},
        "archive-many": {"chart": _archive({f"x/{n}": b"" for n in range(60_000)})},
        "archive-empty": {"chart": _archive({})},
        "subchart-glob": {
            "chart/Chart.yaml": b"name: kubecost\nversion: 3.2.1\ndependencies: [{name: '../../../../*/*/*'}]\n"
        },
        "subchart-absolute": {
            "chart/Chart.yaml": b"name: kubecost\nversion: 3.2.1\ndependencies: [{name: /etc/passwd}]\n"
        },
        "subchart-number": {"chart/Chart.yaml": b"name: kubecost\nversion: 3.2.1\ndependencies: 7\n"},
        "subchart-many": {
            "chart/Chart.yaml": b"name: kubecost\nversion: 3.2.1\ndependencies: [" + b"{name: x}," * 50_000 + b"]\n"
        },
        "subchart-words": {"chart/Chart.yaml": b"name: kubecost\nversion: 3.2.1\ndependencies: [x, y]\n"},
        "escape": {"chart/Chart.yaml": b'name: "\\e[2J\\u202e"\nversion: 3.2.1\n'},
    }
    for name, files in odd.items():
        yield Case(f"chart/{name}", ("chart",), files, ("chart",), True, call="chart")


def _archive(members: Mapping[str, bytes]) -> bytes:
    """A chart's archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _outs() -> Iterator[Case]:
    """`--out` where nothing may be written, and folders with ways out of them."""
    graph = (*_root("graph", "--stack", "dev", "--format", "svg"), "--out")
    render = (*_root("render", "--stack", "dev"), "--out")
    yield Case("out/file", (*graph, f"{OUT}/x.svg"), {}, (), False)
    yield Case("out/folder", (*graph, OUT), {}, ("--out",), True)
    yield Case("out/nowhere", (*graph, f"{OUT}/no/x.svg"), {}, ("--out",), True)
    yield Case("out/nul", (*graph, f"{OUT}/\x00x"), {}, ("--out",), True)
    yield Case("out/long", (*graph, f"{OUT}/" + "x" * 5000), {}, ("--out",), True)
    yield Case("out/surrogate", (*graph, f"{OUT}/\udcff.svg"), {}, (), None)
    yield Case("out/escape", (*graph, f"{OUT}/no\x1b[2J/x"), {}, ("--out",), True)
    yield Case("out/fifo", (*graph, f"{OUT}/fifo"), {"out/fifo": Special("fifo")}, ("--out",), True)
    yield Case("out/full", (*graph, "/dev/full"), {}, ("--out",), True)
    yield Case("out/loop", (*graph, f"{OUT}/loop"), {"out/loop": Special("link", "loop")}, ("--out",), True)
    yield Case("out/empty", (*graph, ""), {}, ("--out",), True)
    marker = json.dumps({"stack": "dev", "files": ["cloudmart/deployment-old.yaml"], "leftOut": []}).encode()
    mark = "out/r/.cloudmart-render.json"
    yield Case("out/render", (*render, f"{OUT}/r"), {}, (), False)
    linked: dict[str, Files] = {
        "namespace": {mark: marker, "out/r/cloudmart": Special("link", f"{OUTSIDE}/folder")},
        "cluster": {mark: marker, "out/r/_cluster": Special("link", f"{OUTSIDE}/folder")},
        "object": {mark: marker, "out/r/cloudmart/service-user-service.yaml": Special("link", f"{OUTSIDE}/secret")},
        "new-object": {mark: marker, "out/r/cloudmart/service-user-service.yaml": Special("link", f"{OUTSIDE}/new")},
        "marker": {mark: Special("link", f"{OUTSIDE}/marker.json")},
        "order": {mark: marker, "out/r/kustomization.yaml": Special("link", f"{OUTSIDE}/new")},
    }
    for name, files in linked.items():
        yield Case(f"out/render-link-{name}", (*render, f"{OUT}/r"), files, ("--out",), True)
    for name, content in {
        "up": b'{"files": ["../../outside/secret"]}',
        "absolute": b'{"files": ["@OUTSIDE@/secret"]}',
        "number": b'{"files": 7}',
        "numbers": b'{"files": [7]}',
        "list": b"[]",
        "deep": b"[" * 100_000,
        "huge-int": b'{"files": ' + b"9" * 9000 + b"}",
        "nul": b'{"files": ["a/\\u0000.yaml"]}',
        "line": b'{"files": ["a/b.yaml\\n"]}',
        "invalid": b'{"files": ["\xff"]}',
        "large": b'{"files": ["' + b"x" * (100 << 20) + b'"]}',
    }.items():
        yield Case(f"out/marker-{name}", (*render, f"{OUT}/r"), {mark: content}, ("--out",), True)
    yield Case("out/marker-fifo", (*render, f"{OUT}/r"), {mark: Special("fifo")}, ("--out",), True)
    yield Case("out/marker-device", (*render, f"{OUT}/r"), {mark: Special("link", "/dev/zero")}, ("--out",), True)
    yield Case(
        "out/object-fifo",
        (*render, f"{OUT}/r"),
        {mark: marker, "out/r/cloudmart/service-user-service.yaml": Special("fifo")},
        ("--out",),
        True,
    )
    yield Case(
        "out/object-folder",
        (*render, f"{OUT}/r"),
        {mark: marker, "out/r/cloudmart/service-user-service.yaml": Special("folder")},
        ("--out",),
        True,
    )
    yield Case("out/render-nul", (*render, f"{OUT}/\x00"), {}, ("--out",), True)
    for index, stack in enumerate((*(text for text in TEXTS if len(text) < 1000), "../dev", "dev/../prod", "dev\n")):
        command = (("config", "show"), ("render", "--out", f"{OUT}/r"), ("preview",))[index % 3]
        yield Case(f"name/stack-{index}", _root(*command, f"--stack={stack}"), {}, ("stack", "Pulumi"), True)
    for index, ref in enumerate(
        ("--upload-pack=touch x", f"--output={OUTSIDE}/git", "$(id)", "a\x00b", "\x1b[2J", "@{-99}", "HEAD:x")
    ):
        yield Case(f"name/base-{index}", _root("preview", "--stack=dev", f"--base={ref}"), {}, ("--base",), True)


def _clusters() -> Iterator[Case]:
    """A kubectl that answers as a hostile cluster's would make it."""
    argv = _root("cost", "--context", "x", "--timeout", "2", "--no-trend")
    given = (*argv, "--service", "kubecost/kubecost-frontend:9090")
    service = {"metadata": {"name": "kubecost-frontend", "namespace": "\x1b[2J"}, "spec": {"ports": [{"port": 9090}]}}
    answers: dict[str, bytes] = {
        "garbage": b"\x00\xff\xfe",
        "services": json.dumps({"items": [service]}).encode(),
        "many-services": json.dumps(
            {"items": [service, {**service, "metadata": {"name": "kubecost-frontend", "namespace": "\u202e"}}]}
        ).encode(),
        "shape": b'{"items": [{"metadata": 7}]}',
        "ports": b'{"items": [{"metadata": {"name": "opencost", "namespace": "x"}, "spec": {"ports": [[]]}}]}',
        **{name: content for name, content in JSON_FILES.items() if len(content) < (40 << 20)},
    }
    for name, body in answers.items():
        yield Case(f"cluster/{name}", argv, {"answer": body}, ("kubectl", "service"), None, {"KUBECTL": "plain"})
    for way in ("endless", "endless-error", "escape-error", "invalid-error", "fails", "killed"):
        yield Case(f"cluster/{way}", given, {"answer": b""}, ("kubectl", "service"), True, {"KUBECTL": way})
    for index, context in enumerate(TEXTS[:24]):
        yield Case(
            f"cluster/context-{index}",
            _root("cost", f"--context={context}", "--timeout", "2"),
            {"answer": b"{}"},
            ("kubectl", "service", "context", "Allocation"),
            True,
            {"KUBECTL": "plain"},
        )
    for index, text in enumerate(TEXTS[:24]):
        yield Case(
            f"cluster/service-{index}",
            (*argv, f"--service={text}"),
            {"answer": b"{}"},
            ("service",),
            True,
            {"KUBECTL": "plain"},
        )


def _kubeconfigs() -> Iterator[Case]:
    """Read by the real kubectl, whose refusals are passed on."""
    config: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "x", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "x", "user": {}}],
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        "current-context": "x",
    }
    argv = _root("cost", "--context", "x", "--timeout", "2", "--no-trend")
    picked = (
        "empty",
        "nuls",
        "bomb",
        "self",
        "deep-flow-closed",
        "list",
        "utf16",
        "binary",
        "tag-0",
        "many-anchors",
        "surrogate",
    )
    files: dict[str, bytes | Special] = {name: YAML_FILES[name] for name in picked}
    files |= {"folder": Special("folder"), "loop": Special("link", "kubeconfig")}
    for index, server in enumerate(("file:///etc/passwd", "\x1b[2J", "http://[", "https://127.0.0.1:1/$(id)")):
        config["clusters"][0]["cluster"]["server"] = server
        files[f"server-{index}"] = _yaml(config)
    config["clusters"][0]["cluster"] = {"server": "https://127.0.0.1:1", "certificate-authority": "/etc/passwd"}
    files["authority"] = _yaml(config)
    for name, content in files.items():
        yield Case(
            f"kubeconfig/{name}",
            argv,
            {"kubeconfig": content},
            ("kubectl", "service", "--context"),
            True,
            {"KUBECTL": "real"},
        )


def cases(seed: int) -> list[Case]:
    """All of them, in an order that depends on the seed alone."""
    chance = random.Random(seed)  # noqa: S311 (nothing secret)
    found = [
        *_settings(chance, "catalog.yaml", 90),
        *_settings(chance, "Pulumi.dev.yaml", 60),
        *_programs(),
        *_descriptions(),
        *_price_books(chance, 60),
        *_policies(chance, 40),
        *_states(chance, 40),
        *_allocations(),
        *_url_texts(),
        *_saved(chance, 40),
        *_timelines(chance, 50),
        *_profiles(chance, 50),
        *_vpa(chance, 25),
        *_charts(),
        *_outs(),
        *_clusters(),
        *_kubeconfigs(),
    ]
    # No program can be given a NUL in its arguments, nor half of a surrogate pair.
    found = [case for case in found if not any("\x00" in word or "\ud800" in word for word in case.argv)]
    chance.shuffle(found)
    return found
