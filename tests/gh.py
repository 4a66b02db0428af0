"""Stands in for GitHub's command line, in the tests of the workflows: one repository `o/r`, kept in a file.

Run as a program: STATE WORD..., where STATE is a JSON file with `pulls`, `comments` of pull request 7, `environments`
and `calls`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BOT = "github-actions[bot]"


def install(folder: Path, **state: Any) -> Path:
    """Puts `gh` into a folder for PATH; the file of its state. Skips the test where there is no jq."""
    if shutil.which("jq") is None:
        pytest.skip("no jq, which stands in for the one within GitHub's command line")
    folder.mkdir()
    file = folder / "state.json"
    file.write_text(json.dumps({"pulls": [], "comments": [], "calls": [], "environments": {}, **state}))
    gh = folder / "gh"
    gh.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{Path(__file__)}" "{file}" "$@"\n')
    gh.chmod(0o755)
    return file


def main(file: Path, words: list[str]) -> None:
    """Answers a call of the API, filtered with jq a page at a time as `gh` does; does nothing for `auth setup-git`."""
    if words == ["auth", "setup-git"]:
        return
    assert words.pop(0) == "api"
    options: dict[str, str] = {}
    fields: dict[str, str] = {}
    while words:
        word = words.pop(0)
        if word in ("-f", "-F"):
            key, _, value = words.pop(0).partition("=")
            fields[key] = Path(value[1:]).read_text() if word == "-F" and value[0] == "@" else value
        elif word in ("--method", "--jq"):
            options[word] = words.pop(0)
        else:
            options["address" if not word.startswith("-") else word] = word
    assert set(options) <= {"--method", "--jq", "--paginate", "--silent", "address"}
    method, address = options.get("--method", "GET"), options["address"]
    state = json.loads(file.read_text())
    state["calls"].append(f"{method} {address}")
    pages = _answer(state, method, address, fields, every="--paginate" in options)
    file.write_text(json.dumps(state))
    for page in pages if "--silent" not in options else []:
        jq = ["jq", "-r", options["--jq"]]
        sys.stdout.write(
            subprocess.run(jq, input=json.dumps(page), stdout=subprocess.PIPE, text=True, check=True).stdout
        )


def _answer(state: Any, method: str, address: str, fields: dict[str, str], *, every: bool) -> list[list[Any]]:
    pulls, comments = state["pulls"], state["comments"]
    match method, address.removeprefix("repos/o/r/").split("/"):
        case "GET", ["pulls"]:
            assert fields["state"] == "open"
            return [[one for one in pulls if one["head"]["label"] == fields["head"]]]
        case "POST", ["pulls"]:
            head = {"label": f"o:{fields.pop('head')}"}
            pulls.append({"number": len(pulls) + 1, "head": head, **fields})
        case "PATCH", ["pulls", number]:
            (one,) = (one for one in pulls if one["number"] == int(number))
            one |= fields
        case "GET", ["issues", "7", "comments"]:
            assert every, "there may be more than one page"
            return [[one] for one in comments]
        case "POST", ["issues", "7", "comments"]:
            comments.append({"id": 20, "user": {"login": BOT}, **fields})
        case "PATCH", ["issues", "comments", number]:
            (one,) = (one for one in comments if one["id"] == int(number))
            one |= fields
        case "GET", ["environments", name]:
            return [state["environments"][name]]
        case _:
            raise AssertionError(f"{method} {address}")
    return []


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
