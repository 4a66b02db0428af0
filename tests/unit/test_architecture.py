"""The design's rules about the code itself: who may import what, and what may not stand anywhere."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from cloudmart.preview.recorder import HOME
from cloudmart.settings import stacks

PROGRAM = HOME / "__main__.py"

#: Place → what of this project it may import besides itself. The longest place that fits a module counts.
MAY_IMPORT: dict[str, set[str]] = {
    "__main__": {"cloudmart.settings", "cloudmart.errors", "components"},
    "components": {"cloudmart.settings", "cloudmart.errors"},
    # Its rules and dashboards hold the prices of the stack's own book.
    "components.monitoring": {"components", "cloudmart.finops", "cloudmart.settings", "cloudmart.errors"},
    "cloudmart": set(),
    "cloudmart.errors": set(),
    "cloudmart.settings": {"cloudmart.errors"},
    "cloudmart.finops": {"cloudmart.settings", "cloudmart.errors"},
    "cloudmart.preview": {"cloudmart.settings", "cloudmart.finops", "cloudmart.errors"},
    "cloudmart.cluster": {"cloudmart.settings", "cloudmart.errors"},
    "cloudmart.deploy": {
        "cloudmart.cluster",
        "cloudmart.errors",
        "cloudmart.finops",
        "cloudmart.preview",
        "cloudmart.settings",
    },
    "cloudmart.doctor": {
        "cloudmart.access",
        "cloudmart.cluster",
        "cloudmart.deploy",
        "cloudmart.errors",
        "cloudmart.preview",
        "cloudmart.settings",
        # Its words for how a check ends.
        "cloudmart.verify",
    },
    "cloudmart.drift": {
        "cloudmart.cluster",
        "cloudmart.deploy",
        "cloudmart.errors",
        "cloudmart.finops",
        "cloudmart.preview",
    },
    "cloudmart.verify": {
        "cloudmart.cluster",
        "cloudmart.deploy",
        "cloudmart.drift",
        "cloudmart.errors",
        "cloudmart.finops",
        "cloudmart.preview",
        "cloudmart.settings",
    },
    "cloudmart.report": {"cloudmart.settings", "cloudmart.finops", "cloudmart.preview", "cloudmart.errors"},
    "cloudmart.access": {
        "cloudmart.cluster",
        "cloudmart.deploy",
        # What they look for.
        "cloudmart.drift",
        "cloudmart.verify",
        "cloudmart.errors",
        "cloudmart.finops",
        "cloudmart.preview",
        "cloudmart.settings",
    },
    "cloudmart.secrets": {
        "cloudmart.cluster",
        "cloudmart.deploy",
        "cloudmart.errors",
        "cloudmart.finops",
        "cloudmart.preview",
        "cloudmart.settings",
    },
    "cloudmart.shop": {"cloudmart.errors", "cloudmart.settings"},
    "cloudmart.cli": {
        "cloudmart.access",
        "cloudmart.cluster",
        "cloudmart.deploy",
        "cloudmart.doctor",
        "cloudmart.drift",
        "cloudmart.errors",
        "cloudmart.finops",
        "cloudmart.preview",
        "cloudmart.report",
        "cloudmart.secrets",
        "cloudmart.settings",
        "cloudmart.shop",
        "cloudmart.verify",
    },
    "policy": {"cloudmart.finops", "cloudmart.settings", "cloudmart.errors"},
}

#: Distribution → the places that may import it.
THIRD_PARTY: dict[str, set[str]] = {
    "pulumi_kubernetes": {"components", "__main__"},
    "pulumi_random": {"components"},
    "pulumi": {"components", "__main__", "cloudmart.preview", "cloudmart.deploy"},
    "pulumi_policy": {"policy", "cloudmart.preview"},
}


def module_of(file: Path) -> str:
    parts = file.relative_to(HOME).with_suffix("").parts
    # The pack's folder and the program are no packages; their __main__ is told apart from the program's.
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {
    module_of(file): file
    for file in [
        PROGRAM,
        *(file for top in ("cloudmart", "components", "policy") for file in (HOME / top).rglob("*.py")),
    ]
    # Not Go modules' or charts' folders of a developer's machine.
    if not any(part.startswith(".") for part in file.relative_to(HOME).parts)
}


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(SOURCES[module].read_text(encoding="utf-8"))


@cache
def nodes(module: str) -> tuple[ast.AST, ...]:
    """Everything in a module's tree."""
    return tuple(ast.walk(tree(module)))


@cache
def unparsed(node: ast.AST) -> str:
    """The code of a node of `nodes`."""
    return ast.unparse(node)


@cache
def imported(module: str) -> tuple[tuple[int, str], ...]:
    """Line and full name of everything that a module imports, at its top or within a function."""
    return tuple(_imported(module))


def _imported(module: str) -> Iterator[tuple[int, str]]:
    package = module if SOURCES[module].name == "__init__.py" else module.rpartition(".")[0]
    for node in nodes(module):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base]).rstrip(".")
            # `from cloudmart import cli` imports a module too.
            names = [f"{base}.{alias.name}" for alias in node.names]
            yield from ((node.lineno, name if name in SOURCES else base) for name in names)
        elif (
            isinstance(node, ast.Call)
            and unparsed(node.func) in ("importlib.import_module", "__import__")
            and isinstance(node.args[0], ast.Constant)
        ):
            yield node.lineno, str(node.args[0].value)


def within(module: str, places: set[str]) -> bool:
    return any(module == place or module.startswith(f"{place}.") for place in places)


def place_of(module: str) -> str:
    return max((place for place in MAY_IMPORT if within(module, {place})), key=len)


@pytest.mark.parametrize("module", SOURCES)
def test_a_module_imports_only_what_its_place_in_the_design_allows(module: str) -> None:
    place = place_of(module)
    allowed = MAY_IMPORT[place] | {place}
    wrong = [
        f"{module}:{line} imports {name}"
        for line, name in imported(module)
        if within(name, {"cloudmart", "components", "policy", "tests"}) and not within(name, allowed)
    ]
    assert wrong == []


@pytest.mark.parametrize("module", [module for module in SOURCES if module.startswith(("cloudmart.", "components"))])
def test_a_package_of_the_project_is_a_place_of_the_table(module: str) -> None:
    assert place_of(module) != "cloudmart", f"{module} stands in no place of the design's table"


@pytest.mark.parametrize("distribution", THIRD_PARTY)
def test_a_provider_sdk_is_imported_only_where_the_design_says(distribution: str) -> None:
    importers = {module for module in SOURCES for _, name in imported(module) if name.partition(".")[0] == distribution}
    assert importers, f"nobody imports {distribution}: the table is out of date"
    assert {module for module in importers if not within(module, THIRD_PARTY[distribution])} == set()


def test_no_other_provider_sdk_is_imported_at_all() -> None:
    names = {name.partition(".")[0] for module in SOURCES for _, name in imported(module)}
    assert {name for name in names if name.startswith("pulumi")} == set(THIRD_PARTY)


def test_what_was_meant_by_a_misspelt_word_is_looked_for_in_one_place() -> None:
    assert [module for module in SOURCES if "get_close_matches" in unparsed(tree(module))] == ["cloudmart.errors"]


def test_what_loads_settings_does_not_know_what_writes_them() -> None:
    importers = {module for module in SOURCES for _, name in imported(module) if name == "cloudmart.settings.edit"}
    assert not {module for module in importers if within(module, {"cloudmart.settings", "components", "policy"})}


def test_settings_and_prices_are_pure_python_without_pulumi() -> None:
    for module in SOURCES:
        if within(module, {"cloudmart.settings", "cloudmart.finops", "cloudmart.errors"}):
            assert not [name for _, name in imported(module) if name.startswith("pulumi")], module


def test_settings_read_files_in_one_module_write_them_in_one_and_start_no_process() -> None:
    outside = {"subprocess", "socket", "requests", "urllib", "http", "os", "tempfile", "shutil", "asyncio", "threading"}
    for module in SOURCES:
        # `edit` writes values into a stack's file; nothing that loads does.
        if within(module, {"cloudmart.settings"}) and module != "cloudmart.settings.edit":
            found = {name.partition(".")[0] for _, name in imported(module)} & outside
            # Opens what may be a pipe without waiting for it.
            assert found <= ({"os"} if module == "cloudmart.settings.source" else set()), module
            calls = {unparsed(node.func) for node in nodes(module) if isinstance(node, ast.Call)}
            reads = {call for call in calls if call == "open" or call.endswith((".read_text", ".read_bytes", ".open"))}
            assert not reads or module == "cloudmart.settings.source", module


# --- the environment is data -----------------------------------------------------------------------------------------

STACK_NAMES = {*stacks(HOME), "prod", "production", "dev", "development", "staging"}


def asks_for_a_stack(node: ast.AST) -> Iterator[str]:
    """Comparisons, matches and look-ups that a stack's name decides."""
    if isinstance(node, ast.Compare):
        parts = [node.left, *node.comparators]
        parts = [
            item
            for part in parts
            for item in (part.elts if isinstance(part, ast.Tuple | ast.List | ast.Set) else [part])
        ]
        if any(isinstance(part, ast.Constant) and part.value in STACK_NAMES for part in parts):
            yield ast.unparse(node)
    elif isinstance(node, ast.MatchValue):
        if isinstance(node.value, ast.Constant) and node.value.value in STACK_NAMES:
            yield ast.unparse(node)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        if node.func.attr in ("startswith", "endswith") and "stack" in ast.unparse(node.func.value).lower():
            yield ast.unparse(node)
    elif isinstance(node, ast.Dict):
        keys = {key.value for key in node.keys if isinstance(key, ast.Constant)}
        if keys & STACK_NAMES:
            yield ast.unparse(node)


@pytest.mark.parametrize("module", SOURCES)
def test_no_code_asks_for_a_stack_by_its_name(module: str) -> None:
    assert [text for node in nodes(module) for text in asks_for_a_stack(node)] == []


@pytest.mark.parametrize(
    "code",
    [
        'if stack == "prod": pass',
        'if "prod" == pulumi.get_stack(): pass',
        'x = 3 if settings.stack in ("prod", "staging") else 1',
        'match stack:\n  case "dev": pass',
        'x = {"dev": 1, "prod": 3}[stack]',
        'if stack.startswith("prod"): pass',
    ],
)
def test_the_check_for_names_of_stacks_finds_them(code: str) -> None:
    assert [text for node in ast.walk(ast.parse(code)) for text in asks_for_a_stack(node)]


def test_the_program_is_short_and_decides_nothing() -> None:
    text = PROGRAM.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 40
    conditions = [node for node in ast.walk(tree("__main__")) if isinstance(node, ast.If | ast.IfExp | ast.Match)]
    # The one condition is whether there is an engine.
    assert [ast.unparse(node.test) for node in conditions if isinstance(node, ast.If)] == ["config is not None"]
    assert len(conditions) == 1


def test_the_packs_entry_point_only_starts_the_pack() -> None:
    body = tree("policy.__main__").body
    assert not [
        node for node in ast.walk(tree("policy.__main__")) if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.If)
    ]
    assert len([node for node in body if not isinstance(node, ast.Import | ast.ImportFrom)]) <= 4


# --- components ------------------------------------------------------------------------------------------------------


def components() -> Iterator[tuple[str, ast.ClassDef]]:
    """Every class that is a ComponentResource, directly or through a class of this project."""
    classes = [
        (module, node)
        for module in SOURCES
        if within(module, {"components"})
        for node in nodes(module)
        if isinstance(node, ast.ClassDef)
    ]
    known = {"ComponentResource"}
    while True:
        found = [
            (module, node)
            for module, node in classes
            if any(re.split(r"[\[.]", ast.unparse(base).partition("[")[0])[-1] in known for base in node.bases)
        ]
        names = known | {node.name for _, node in found}
        if names == known:
            break
        known = names
    # A generic base, from which the others are made, is none itself.
    yield from ((module, node) for module, node in found if not any("ABC" in ast.unparse(base) for base in node.bases))


COMPONENTS = {node.name: (module, node) for module, node in components()}


def token_of(node: ast.ClassDef) -> list[str]:
    """The type tokens that stand in a class: as an attribute, or handed to the base class."""
    constants = [
        child.value
        for child in ast.walk(node)
        if isinstance(child, ast.Constant) and child.value != ast.get_docstring(node, clean=False)
    ]
    return [value for value in constants if isinstance(value, str) and re.fullmatch(r"cloudmart:\w+:\w+", value)]


def test_the_components_of_the_design_are_there() -> None:
    assert {
        "Platform",
        "GuardedNamespace",
        "Microservice",
        "DataLayer",
        "Postgres",
        "Redis",
        "Kafka",
        "Kubecost",
    } <= set(COMPONENTS)
    assert len(COMPONENTS) == len(list(components())), "two components have the same name"


@pytest.mark.parametrize("name", COMPONENTS)
def test_a_components_type_token_is_its_module_and_class_and_opens_its_docstring(name: str) -> None:
    module, node = COMPONENTS[name]
    token = f"cloudmart:{module.split('.')[1]}:{name}"
    assert token_of(node) == [token]
    assert (ast.get_docstring(node) or "").startswith(f"``{token}``")


def test_type_tokens_are_unique() -> None:
    tokens = [token for _, node in COMPONENTS.values() for token in token_of(node)]
    assert len(tokens) == len(set(tokens)) == len(COMPONENTS)


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, (_, node) in COMPONENTS.items()
        if any(isinstance(child, ast.FunctionDef) and child.name == "__init__" for child in node.body)
    ],
)
def test_a_component_takes_name_args_and_opts_and_registers_its_outputs(name: str) -> None:
    _, node = COMPONENTS[name]
    (init,) = (child for child in node.body if isinstance(child, ast.FunctionDef) and child.name == "__init__")
    assert [argument.arg for argument in init.args.args] == ["self", "name", "args", "opts"]
    assert init.args.vararg is None
    assert init.args.kwarg is None
    assert "self.register_outputs(" in ast.unparse(node)


def test_args_are_frozen_and_by_keyword_only() -> None:
    found = 0
    for module in SOURCES:
        for node in nodes(module):
            if within(module, {"components"}) and isinstance(node, ast.ClassDef) and node.name.endswith("Args"):
                found += 1
                decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
                assert decorators == ["dataclass(frozen=True, kw_only=True)"], node.name
    assert found >= 6


@pytest.mark.parametrize("module", [module for module in SOURCES if within(module, {"components"})])
def test_children_name_their_parent_and_nobody_merges_options_into_them(module: str) -> None:
    # The top's own options may be added to; it is nobody's child.
    own = "opts = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(transformations=[delivered.note]))"
    text = ast.unparse(tree(module))
    assert "ResourceOptions.merge" not in (text.replace(own, "", 1) if module == "components.platform" else text)
    for node in nodes(module):
        if isinstance(node, ast.Call) and unparsed(node.func).endswith("ResourceOptions"):
            keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            if ast.unparse(node) in own:
                continue
            assert keywords.get("parent") == "self", f"{module}:{node.lineno}"


@pytest.mark.parametrize("module", [module for module in SOURCES if within(module, {"components"})])
def test_no_resource_is_made_within_an_apply(module: str) -> None:
    classes = {
        name
        for node in nodes(module)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("pulumi_kubernetes", "pulumi_random"))
        for name in [alias.name for alias in node.names]
        if not name.endswith("Args")
    } | set(COMPONENTS)
    for node in nodes(module):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "apply":
            made = {ast.unparse(call.func) for call in ast.walk(node) if isinstance(call, ast.Call)} & classes
            assert not made, f"{module}:{node.lineno}"
