"""Any single corruption of a valid file loads after all or is one clear error; never an exception of another kind."""

from __future__ import annotations

import copy
import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloudmart.cli import main
from cloudmart.errors import UserError
from cloudmart.preview.policy import evaluate
from cloudmart.preview.recorder import HOME, Recorded, record
from cloudmart.preview.run import read_policy_config
from cloudmart.settings import load
from cloudmart.settings.model import Declaration
from tests.property.strategies import bytes_, words

SETTINGS = ("catalog.yaml", "Pulumi.dev.yaml", "Pulumi.prod.yaml")
POLICIES = ("policy/config/dev.json", "policy/config/prod.json")
FILES = (*SETTINGS, *POLICIES)
TEXTS = {file: (HOME / file).read_bytes() for file in FILES}
TREES: dict[str, Any] = {file: yaml.safe_load(text) for file, text in TEXTS.items()}

quick = settings(
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

Place = tuple[str | int, ...]


def places(tree: Any, path: Place = ()) -> Iterator[Place]:
    """The path of every value in a tree but the tree itself."""
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ():
        yield (*path, key)
        yield from places(value, (*path, key))


PLACES = {file: sorted(places(TREES[file]), key=str) for file in FILES}


def at(tree: Any, path: Place) -> Any:
    for part in path:
        tree = tree[part]
    return tree


def changed(file: str, path: Place, value: object) -> Any:
    tree = copy.deepcopy(TREES[file])
    at(tree, path[:-1])[path[-1]] = value
    return tree


def key_path(file: str, path: Place) -> str:
    """The path as messages write it."""
    if file.startswith("Pulumi."):
        path = (str(path[1]).removeprefix("cloudmart:"), *path[2:]) if len(path) > 1 else path
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)[1:]


def stack_of(file: str) -> str:
    return "prod" if "prod" in file else "dev"


@functools.cache
def resources(stack: str) -> list[Recorded]:
    """What the rules look at."""
    return record(stack, HOME).resources


def outcome(root: Path, file: str, content: bytes, *, alone: bool = False) -> str | None:
    """None where the project loads with this content of one file, and its rules judge, else the message. Any other
    exception passes.

    `alone`: the catalog without a stack's differences, which may give a key that it lacks.
    """
    for name, text in TEXTS.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content if name == file else b"config: {}" if alone and name in SETTINGS else text)
    stack = stack_of(file)
    try:
        load(stack, root)
        if file in POLICIES:
            evaluate(resources(stack), read_policy_config(stack, root))
    except UserError as error:
        return str(error)
    return None


PLACE = re.compile(rf"(Pulumi\.(dev|prod)\.yaml:[0-9]+ over )?({'|'.join(map(re.escape, FILES))})(:[0-9]+)?: ")


def expect_clear(message: str | None) -> None:
    """Every line names a file, says what was found and fits the terminal's line."""
    for line in (message or "").split("\n") if message is not None else ():
        assert PLACE.match(line), message
        assert len(line) < 1500, message
        assert line.isprintable(), message


def expect_place(message: str | None, file: str, path: Place) -> None:
    """The message names the place, or one around it: what is wrong may be the whole that the part makes."""
    assert message is not None
    around = {key_path(file, path[:length]) for length in range(1, len(path) + 1)}
    around |= {f"config.{part}" for part in [key_path(file, path)]} | {"top level", "config"}
    expect_clear(message)
    named = {line.split(": ")[1] for line in message.split("\n")}
    assert any(name == place or name.startswith((f"{place}.", f"{place}[")) for name in named for place in around), (
        message,
        path,
    )


def text_of(tree: object) -> bytes:
    return json.dumps(tree, ensure_ascii=False, indent=1).encode()


@pytest.mark.parametrize("file", FILES)
def test_the_files_are_valid_to_begin_with_and_as_json_too(tmp_path: Path, file: str) -> None:
    assert outcome(tmp_path, file, TEXTS[file]) is None
    assert outcome(tmp_path, file, text_of(TREES[file])) is None


REQUIRED = [
    path
    for path in PLACES["catalog.yaml"]
    if path
    in {
        *((field.alias or name,) for name, field in Declaration.model_fields.items() if field.is_required()),
        ("namespace", "name"),
        ("namespace", "costCenter"),
        ("cluster", "kubernetesVersion"),
        ("costCenters", "CC-2001", "owner"),
        ("externals", "payment-api", "host"),
        *(
            ("services", name, *key)
            for name in TREES["catalog.yaml"]["services"]
            for key in (
                ("description",),
                ("criticality",),
                ("traffic",),
                ("replicas",),
                ("resources",),
                ("resources", "requests"),
                ("resources", "limits", "cpu"),
                ("autoscaling", "min"),
                ("autoscaling", "max"),
            )
        ),
    }
]


@pytest.mark.parametrize("path", REQUIRED, ids=lambda path: ".".join(map(str, path)))
def test_a_required_key_that_is_dropped_is_named(tmp_path: Path, path: Place) -> None:
    tree = copy.deepcopy(TREES["catalog.yaml"])
    del at(tree, path[:-1])[path[-1]]
    message = outcome(tmp_path, "catalog.yaml", text_of(tree), alone=True)
    assert message is not None
    expect_clear(message)
    assert f": {key_path('catalog.yaml', path)}: found nothing; allowed: this key is required" in message


@quick
@given(data=st.data())
def test_any_key_that_is_dropped_is_harmless_or_named(data: st.DataObject, tmp_path: Path) -> None:
    file = data.draw(st.sampled_from(FILES))
    path = data.draw(st.sampled_from(PLACES[file]))
    tree = copy.deepcopy(TREES[file])
    del at(tree, path[:-1])[path[-1]]
    expect_clear(outcome(tmp_path, file, text_of(tree)))


@quick
@given(data=st.data(), new=words)
def test_any_key_that_is_renamed_is_named_or_a_new_entry_of_an_open_mapping(
    data: st.DataObject, new: str, tmp_path: Path
) -> None:
    file = data.draw(st.sampled_from(FILES))
    path = data.draw(st.sampled_from([p for p in PLACES[file] if isinstance(p[-1], str)]))
    tree = copy.deepcopy(TREES[file])
    holder = at(tree, path[:-1])
    value = holder.pop(path[-1])
    if new in holder:
        return
    holder[new] = value
    message = outcome(tmp_path, file, text_of(tree))
    expect_clear(message)
    closed = file == "catalog.yaml" and path[:-1] in {
        (),
        ("cluster",),
        ("namespace",),
        ("placeholderImage",),
        ("data",),
    }
    if closed and new != path[-1]:
        assert message is not None
        assert "found an unknown key" in message


@quick
@given(
    data=st.data(),
    value=st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        words,
        st.just([]),
        st.just({}),
        st.just([[]]),
        st.just({"a": 1}),
    ),
)
def test_any_value_of_another_type_is_harmless_or_named_with_its_key_path(
    data: st.DataObject, value: object, tmp_path: Path
) -> None:
    file = data.draw(st.sampled_from(FILES))
    path = data.draw(st.sampled_from(PLACES[file]))
    message = outcome(tmp_path, file, text_of(changed(file, path, value)), alone=file == "catalog.yaml")
    expect_clear(message)
    # A scalar may be as good as another, and what it breaks may be elsewhere: a mapping in its place never is.
    if isinstance(at(TREES[file], path), (str, int, float)) and value == {"a": 1}:
        expect_place(message, file, path)


QUANTITIES = [
    (file, path)
    for file in FILES
    for path in PLACES[file]
    if path[-1] in ("cpu", "memory", "size") and "resources" in path
]


@pytest.mark.parametrize(
    ("file", "path"), QUANTITIES, ids=lambda v: ".".join(map(str, v)) if isinstance(v, tuple) else v
)
@pytest.mark.parametrize(
    "bad", ["", "100MB", "-1", "1e3", "0", 0, -1, True, "99999999999999999999", "999999999999999999"]
)
def test_a_bad_quantity_is_named_with_its_key_path(tmp_path: Path, file: str, path: Place, bad: object) -> None:
    message = outcome(tmp_path, file, text_of(changed(file, path, bad)))
    assert message is not None
    expect_clear(message)
    assert f"{file}:" in message
    assert f": {key_path(file, path)}: found " in message


@pytest.mark.parametrize("name", TREES["catalog.yaml"]["services"])
def test_limits_and_requests_that_are_swapped_are_named(tmp_path: Path, name: str) -> None:
    path: Place = ("services", name, "resources")
    both = TREES["catalog.yaml"]["services"][name]["resources"]
    swapped = {"requests": both["limits"], "limits": both["requests"]}
    message = outcome(tmp_path, "catalog.yaml", text_of(changed("catalog.yaml", path, swapped)))
    expect_place(message, "catalog.yaml", path)
    assert message is not None
    assert f"services.{name}.resources.limits.cpu: found limits.cpu" in message


@settings(quick, max_examples=30)
@given(
    name=st.sampled_from(sorted(TREES["catalog.yaml"]["services"])),
    target=st.from_regex(r"\A[a-z][a-z0-9]{0,20}\Z").filter(lambda word: word not in ("postgres", "redis", "kafka")),
)
def test_an_edge_to_nothing_is_named_with_its_place_in_the_list(name: str, target: str, tmp_path: Path) -> None:
    path: Place = ("services", name, "needs", 0)
    message = outcome(tmp_path, "catalog.yaml", text_of(changed("catalog.yaml", path, target)))
    assert message is not None
    assert re.fullmatch(
        rf"catalog\.yaml:[0-9]+: services\.{name}\.needs\[0\]: found '{target}'.*; allowed: .*", message
    )


@settings(quick, max_examples=25)  # three loads each, and one code is much like another
@given(
    code=st.from_regex(r"\A[A-Z]{2}-[0-9]{4}\Z").filter(lambda code: code not in TREES["catalog.yaml"]["costCenters"])
)
def test_an_unknown_cost_center_is_named_everywhere(code: str, tmp_path: Path) -> None:
    for path in (
        ("namespace", "costCenter"),
        ("services", "user-service", "costCenter"),
        ("data", "redis", "costCenter"),
    ):
        message = outcome(tmp_path, "catalog.yaml", text_of(changed("catalog.yaml", path, code)))
        assert message is not None
        assert f": {'.'.join(path)}: found '{code}'" in message
        assert "allowed, from costCenters: CC-2001, CC-2002" in message


@pytest.mark.parametrize("file", SETTINGS)
def test_every_line_with_a_key_that_stands_twice_is_an_error(tmp_path: Path, file: str) -> None:
    lines = TEXTS[file].decode().splitlines()
    tried = 0
    for index, line in enumerate(lines):
        if re.match(r" *[\w.:-]+: *[^ #{].*", line) and not line.lstrip().startswith("#"):
            tried += 1
            doubled = "\n".join([*lines[: index + 1], line, *lines[index + 1 :]]).encode()
            message = outcome(tmp_path, file, doubled)
            assert message is not None
            assert re.match(rf"{re.escape(file)}:{index + 2}: \S.*: found the key '.*' twice; allowed: once$", message)
    # Stacks hold their leaves in flow style, on one line with their parents.
    assert tried >= (10 if file == "catalog.yaml" else 0)


@quick
@given(data=st.data())
def test_a_file_that_ends_anywhere_loads_or_is_one_clear_error(data: st.DataObject, tmp_path: Path) -> None:
    file = data.draw(st.sampled_from(FILES))
    end = data.draw(st.integers(0, len(TEXTS[file]) - 1))
    expect_clear(outcome(tmp_path, file, TEXTS[file][:end]))


@pytest.mark.slow
@settings(quick, max_examples=250)
@given(data=st.data(), byte=bytes_, insert=st.booleans())
def test_any_byte_anywhere_loads_or_is_one_clear_error(
    data: st.DataObject, byte: int, insert: bool, tmp_path: Path
) -> None:
    file = data.draw(st.sampled_from(FILES))
    text = TEXTS[file]
    index = data.draw(st.integers(0, len(text) - 1))
    expect_clear(outcome(tmp_path, file, text[:index] + bytes([byte]) + text[index + (not insert) :]))


@settings(quick, max_examples=100)
@given(
    content=st.one_of(st.binary(max_size=60), st.text(max_size=60).map(lambda t: t.encode("utf-8", "surrogatepass")))
)
def test_a_file_of_anything_loads_or_is_one_clear_error(content: bytes, tmp_path: Path) -> None:
    for file in FILES:
        expect_clear(outcome(tmp_path, file, content))


@settings(quick, max_examples=25)
@given(data=st.data(), byte=bytes_)
@pytest.mark.parametrize("command", ["show", "preview"])
def test_on_the_command_line_a_corrupt_file_is_exit_status_2_and_no_traceback(
    command: str,
    data: st.DataObject,
    byte: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = data.draw(st.sampled_from(SETTINGS if command == "show" else FILES))
    text = TEXTS[file]
    index = data.draw(st.integers(0, len(text) - 1))
    message = outcome(tmp_path, file, text[:index] + bytes([byte]) + text[index + 1 :])
    if message is None:
        return
    for name in ("__main__.py", "Pulumi.yaml", "policy/PulumiPolicy.yaml", "policy/__main__.py", "policy/rules"):
        if not (tmp_path / name).exists():
            (tmp_path / name).symlink_to(HOME / name)
    words_ = ["config", "show"] if command == "show" else ["preview"]
    monkeypatch.setattr("sys.argv", ["cloudmart", *words_, "--stack", stack_of(file), "--root", str(tmp_path)])
    with pytest.raises(SystemExit) as exit_:
        main()
    output = capsys.readouterr()
    assert (exit_.value.code, output.out) == (2, "")
    assert "Traceback" not in output.err
    assert output.err.startswith("error: ")
    assert file in output.err
    if command == "show":
        assert output.err == f"error: {message}\n"
