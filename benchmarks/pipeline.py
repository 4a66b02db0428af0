"""What teams check manifests with: Helm, kubeconform, kube-score and conftest, on the objects that a stack declares.

All that they need is made from what ``cloudmart preview`` itself uses: the chart from the rendered manifests,
kubeconform's schemas from the definitions of the schema check, conftest's rules from the Rego of the admission layer
with the stack's thresholds.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import programs
from cloudmart.preview import recorder, render, schema
from cloudmart.settings import Settings, load
from cloudmart.settings.rules import Level
from components.admission.gatekeeper import rego, rego_parameters
from components.admission.parameters import enforced

#: A rule on the documents of its kinds, as Gatekeeper would ask it.
_RULE = """
{verdict} contains found.msg if {{
    input.kind in {kinds}
    review := {{"object": input, "userInfo": {{"username": "somebody", "groups": []}}}}
    asked := {{"review": review, "parameters": data.parameters["{name}"]}}
    some found in data.rules.{package}.violation with input as asked
}}
"""
#: One after the other, through a file: each of the three reads all of it, and none passes it on.
_STEPS = """set -e
{helm} template shop chart > all.yaml
{kubeconform} -strict -ignore-missing-schemas -kubernetes-version {version} \\
  -schema-location 'schemas/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json' all.yaml
{kube-score} score --output-format ci all.yaml > score.txt || test $? -eq 1
{conftest} test --policy rego --data data --no-color all.yaml
"""


def prepare(stack: str, root: Path, folder: Path) -> int:
    """Make everything that the steps read from a stack of the project in ``root``; the number of its manifests."""
    shutil.rmtree(folder, ignore_errors=True)
    settings = load(stack, root)
    render.render(recorder.record(stack, root), folder / "manifests")
    count = chart(folder / "manifests", folder / "chart")
    _schemas(settings.cluster.kubernetes_version, folder / "schemas")
    rules(settings, folder)
    names = {name: programs.program(name) for name in ("helm", "kubeconform", "kube-score", "conftest")}
    text = _STEPS.format_map({**names, "version": f"{settings.cluster.kubernetes_version}.0"})
    (folder / "check.sh").write_text(text)
    return count


def chart(manifests: Path, out: Path) -> int:
    """A chart whose templates are the manifests: Helm has nothing to work out, which is the least that it can cost."""
    (out / "templates").mkdir(parents=True)
    (out / "Chart.yaml").write_text("apiVersion: v2\nname: shop\nversion: 0.1.0\n")
    files = [file for file in sorted(manifests.rglob("*.yaml")) if file.name != "kustomization.yaml"]
    for file in files:
        text = file.read_text(encoding="utf-8").replace("{{", '{{ "{{" }}')
        # Helm takes what begins with an underscore for a helper, and renders nothing of it.
        (out / "templates" / f"{file.parent.name.lstrip('_')}-{file.name}").write_text(text, encoding="utf-8")
    return len(files)


def _schemas(version: str, out: Path) -> None:
    """Each kind's schema in a file of its own, with the definitions that it refers to, as kubeconform wants them."""
    out.mkdir()
    definitions = schema.definitions(version)
    for name, definition in definitions.items():
        for kind in definition.get("x-kubernetes-group-version-kind", []):
            group = f"-{kind['group'].partition('.')[0]}" if kind["group"] else ""
            needed = _closure(name, definitions)
            found = {"$ref": f"#/$defs/{name}", "$defs": {each: definitions[each] for each in needed}}
            (out / f"{kind['kind'].lower()}{group}-{kind['version']}.json").write_text(json.dumps(found))


def _closure(name: str, definitions: Mapping[str, Any]) -> set[str]:
    found, ahead = set(), [name]
    while ahead:
        if (name := ahead.pop()) not in found:
            found.add(name)
            ahead += re.findall(r'"#/\$defs/([^"]+)"', json.dumps(definitions[name]))
    return found


def rules(settings: Settings, folder: Path) -> None:
    """The admission layer's Rego for conftest: mandatory rules deny, advisory ones warn."""
    (folder / "rego").mkdir(parents=True)
    (folder / "data").mkdir()
    (folder / "rego" / "judged.rego").write_text(rego("judged"))
    main, parameters = ["package main\n"], {}
    for name, ruling in enforced(settings).items():
        (folder / "rego" / f"{name}.rego").write_text(rego(name))
        parameters[name] = rego_parameters(ruling, settings)
        main.append(
            _RULE.format(
                verdict="warn" if ruling.level is Level.ADVISORY else "deny",
                kinds="{" + ", ".join(f'"{kind}"' for kind in sorted(ruling.rule.kinds)) + "}",
                package=name.replace("-", "_"),
                name=name,
            )
        )
    (folder / "rego" / "main.rego").write_text("".join(main))
    (folder / "data" / "parameters.json").write_text(json.dumps({"parameters": parameters}))
