"""``cloudmart preview`` and ``render``: what a stack declares, without a cluster, engine or network."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import click

from cloudmart.cli._options import DEBUG, ROOT, STACK, examples, formats, out_file
from cloudmart.cli._output import print_json, print_or_write, require_place, say, traceback
from cloudmart.errors import UserError, meant, printable

if TYPE_CHECKING:
    from cloudmart.preview.cache import Answer
    from cloudmart.preview.render import Checked
    from cloudmart.preview.run import Against, PreviewResult

FORMATS = ("text", "json", "markdown", "html", "sarif", "junit")
_OF_FAILURES = ("markdown", "html", "sarif", "junit")


class _Wanted(NamedTuple):
    """A report in one format, where it goes, and the option that says so, up to the file's name."""

    format_: str
    file: Path | None
    option: str = "--out "

    def put(self, text: str) -> None:
        print_or_write(text, self.file, self.option)


@click.command(
    "preview",
    epilog=examples(
        "preview",
        "preview --stack prod --base main  # what changes, and what that costs",
        "preview --stack prod --format markdown --also sarif=out.sarif --also junit=out.xml",
        "preview --stack prod --against state",
    ),
)
@STACK
@ROOT
@formats(*FORMATS)
@out_file("Write the report to this file.")
@click.option(
    "--also",
    multiple=True,
    metavar="FORMAT=FILE",
    help="Write another format to a file, from the same run; may be repeated.",
)
@click.option(
    "--room",
    type=click.IntRange(4_096, 65_536),
    default=65_536,
    help="Characters that the Markdown may have. [default: 65536, GitHub's for a comment]",
)
@click.option(
    "--policy-config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Configuration of the policy pack. [default: policy/config/<stack>.json]",
)
@click.option("--base", metavar="REF", help="Compare with this branch, tag or commit: what changes, and what it costs.")
@click.option(
    "--against",
    metavar="state|FILE",
    help="Compare with what Pulumi has deployed: `state` asks the Pulumi CLI, a file is what `pulumi stack export` "
    "printed.",
)
@click.option(
    "--plan",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Price the plan that `pulumi preview --json` printed into this file.",
)
@click.option(
    "--no-cache",
    is_flag=True,
    envvar="CLOUDMART_NO_CACHE",
    help="Work it out anew, also where nothing has changed since it was last asked. [env: CLOUDMART_NO_CACHE]",
)
@DEBUG
def preview_command(
    stack: str,
    root: Path,
    format_: str,
    out: Path | None,
    also: tuple[str, ...],
    room: int,
    policy_config: Path | None,
    base: str | None,
    against: str | None,
    plan: Path | None,
    no_cache: bool,
    debug: bool,
) -> None:
    """Show what a stack declares, what is wrong with it and what it costs: no cluster, engine or network.

    Exit status: 0 clean, 1 mandatory policy violations or errors in objects, 2 bad input. The files that do not load
    are findings in the formats for checks (sarif, junit, html, markdown), as well as an error.
    """
    from cloudmart.cluster import crds, toolchain
    from cloudmart.preview import cache

    wanted = [_Wanted(format_, out), *(_also(text) for text in also)]
    in_colour = sys.stdout.isatty() or bool(os.environ.get("FORCE_COLOR"))
    directly = format_ == "text" and out is None and in_colour
    definitions, place = crds.folder(), None
    if not (no_cache or directly or against or plan):
        place = cache.entry(
            stack,
            root,
            formats=[one.format_ for one in wanted],
            room=room,
            policy_config=policy_config,
            base=base,
            definitions=definitions,
            folder=toolchain.cache_directory() / "previews",
        )
        if place is not None and (before := place.get()) is not None:
            _print(before, wanted)
    from cloudmart.preview import report, run

    try:
        with traceback(debug):
            compared = _compared_with(stack, root, base, against, plan)
            result = run.preview(stack, root, policy_config=policy_config, against=compared, definitions=definitions)
    except UserError as error:
        for one in wanted:
            if one.format_ in _OF_FAILURES:
                one.put(_failed(one.format_, stack, error, room))
        raise
    if directly:
        report.print_text(result, sys.stdout)
        sys.stdout.flush()
        wanted = wanted[1:]
    answer = cache.Answer(result.exit_code, tuple(_text(one.format_, result, room) for one in wanted))
    if place is not None:
        place.put(answer)
    _print(answer, wanted)


def _print(answer: Answer, wanted: Sequence[_Wanted]) -> NoReturn:
    for text, one in zip(answer.texts, wanted, strict=True):
        one.put(text)
    sys.stdout.flush()
    sys.exit(answer.exit_code)


def _also(text: str) -> _Wanted:
    name, separator, file = text.partition("=")
    if name not in FORMATS or not separator or not file:
        raise UserError(f"--also: found {text!r}{meant(name, FORMATS)}; allowed: FORMAT=FILE, of {', '.join(FORMATS)}")
    one = Path(file)
    require_place(one, option := f"--also {name}=")
    return _Wanted(name, one, option)


def _text(format_: str, result: PreviewResult, room: int) -> str:
    from cloudmart.preview import findings, junit, report, sarif

    if format_ in ("html", "markdown"):
        from cloudmart.report import html, pull_request

        if format_ == "html":
            return html.page(pull_request.content(result, with_manifests=True))
        return pull_request.comment(pull_request.content(result), room)
    stack = result.recording.stack
    makers: dict[str, Callable[[], str]] = {
        "text": lambda: report.as_text(result),
        "json": lambda: report.as_json(result),
        "sarif": lambda: sarif.as_sarif(stack, findings.of(result)),
        "junit": lambda: junit.as_junit(stack, findings.of(result), result.schema),
    }
    return makers[format_]()


def _failed(format_: str, stack: str, error: UserError, room: int) -> str:
    """The formats of checks say why there is no preview: a pull request shows nothing else."""
    from cloudmart.preview import findings, junit, sarif

    found = findings.of_error(error)
    if format_ == "sarif":
        return sarif.as_sarif(stack, found)
    if format_ == "junit":
        return junit.as_junit(stack, found, None)
    from cloudmart.report import html, pull_request

    content = pull_request.failed(stack, found)
    return html.page(content) if format_ == "html" else pull_request.comment(content, room)


def _compared_with(stack: str, root: Path, base: str | None, against: str | None, plan: Path | None) -> Against | None:
    from cloudmart.preview import stored
    from cloudmart.preview.run import Against

    given = [f"--{name}" for name, value in (("base", base), ("against", against), ("plan", plan)) if value is not None]
    if len(given) > 1:
        raise UserError(f"preview: found {' and '.join(given)}; allowed: one of them")
    if base is not None:
        return Against(base=base)
    if plan is not None:
        return Against(plan=stored.read(plan, "--plan"), source=f"--plan {plan.name}")
    if against is None:
        return None
    if against != "state":
        file = Path(against)
        if not file.is_file():
            raise UserError(f"--against: found {against!r}, which is no file; allowed: state, or a file with a state")
        return Against(state=stored.read(file, "--against"), source=f"the state in {file.name}")
    from cloudmart.deploy.engine import Engine, NoCli, present_cli

    command = present_cli(root)
    if isinstance(command, NoCli):
        raise UserError(
            f"--against state: {command.reason}; allowed: a file that `pulumi stack export` wrote elsewhere"
        )
    return Against(state=Engine(command, root, stack, kubeconfig=None).state(), source="Pulumi's state")


def _cure(found: Checked, stack: str, out: Path) -> str:
    again = f"run: cloudmart render --stack {stack} --out {out}"
    if not found.foreign:
        return again
    if found.stale or found.missing or len(found.superfluous) > len(found.foreign):
        return f"delete what no render wrote, and {again}"
    return "delete what no render wrote, or render into an empty folder"


@click.command(
    "render",
    epilog=examples("render --stack prod --out manifests/prod", "render --stack prod --out manifests/prod --check"),
)
@STACK
@ROOT
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder for the manifests. [default: .local/manifests/<stack>]"
)
@click.option("--check", is_flag=True, help="Write nothing; say what in the folder is not what would be written.")
@formats("text", "json")
@DEBUG
def render_command(stack: str, root: Path, out: Path | None, check: bool, format_: str, debug: bool) -> None:
    """Write a stack's manifests, one file an object, for GitOps. Secrets, made elsewhere, are left out.

    Exit status: 0 written, or with --check all as it should be; 1 --check found a difference; 2 bad input.
    """
    from cloudmart.preview import recorder, render

    out = out or root / ".local" / "manifests" / stack
    with traceback(debug):
        recording = recorder.record(stack, root)
    if check:
        found = render.check(recording, out)
        if format_ == "json":
            differing = {"stale": found.stale, "missing": found.missing, "superfluous": found.superfluous}
            shown = {what: dict(names) for what, names in differing.items()}
            print_json({"stack": stack, "out": str(out), "same": found.same, "files": found.files, **shown})
            sys.exit(0 if found.same else 1)
        for what in ("stale", "missing", "superfluous"):
            for name, label in getattr(found, what).items():
                click.echo(printable(f"{what}: {name} ({label})"))
        if found.same:
            say(f"{found.files} files in {out} are what stack {stack} renders")
            return
        say(f"{out} is not what stack {stack} renders; {_cure(found, stack, out)}")
        sys.exit(1)
    result = render.render(recording, out)
    if format_ == "json":
        written = {"files": result.files, "removed": result.removed, "leftOut": result.left_out}
        print_json({"stack": stack, "out": str(out), **written})
        return
    for line in result.left_out:
        say(f"left out: {line}")
    say(f"{len(result.files)} files in {out}, {len(result.removed)} old ones removed")
