"""The documentation as a site (`make docs`), from the same Markdown that a repository shows."""

import re
from pathlib import Path
from typing import Any

import mermaidx
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging

HERE = Path(__file__).resolve().parent

project = "CloudMart on Pulumi"
extensions = ["myst_parser"]
html_theme = "furo"
html_title = project
html_show_copyright = html_show_sphinx = False
html_copy_source = html_show_sourcelink = False
# Anchors as GitHub makes them, down to `####`: a link to one works in both places.
myst_heading_anchors = 4
myst_enable_extensions = ["tasklist"]
highlight_language = "none"  # of blocks that name none: what commands print
html_css_files = ["pages.css"]
html_static_path = ["_static"]

#: A line of a list in the contents: `- [title](page.md): what it is about`.
_ENTRY = re.compile(r"^- \[([^\]]+)\]\(([^)#:]+)\.md\)", re.MULTILINE)


def toctrees(contents: str) -> str:
    """The contents page with a table of contents for each `## section`, of the pages that its list links to."""
    parts = [contents]
    for section in re.split(r"^## ", contents, flags=re.MULTILINE)[1:]:
        caption = section.splitlines()[0]
        pages = [f"{title.replace('`', '')} <{page}>" for title, page in _ENTRY.findall(section)]
        if pages:
            parts.append("\n".join(["```{toctree}", ":hidden:", f":caption: {caption}", *pages, "```"]))
    return "\n\n".join(parts)


def within(text: str, page: Path) -> str:
    """A page whose links to folders and to Markdown outside of docs/ are their words alone: the site has only docs/.

    A single file of another kind (a schema, a module) comes along as a download.
    """

    def link(found: re.Match[str]) -> str:
        target = (page.parent / found[2]).resolve()
        outside = not target.is_relative_to(HERE) and (target.is_dir() or target.suffix == ".md")
        return found[1] if outside else found[0]

    return re.sub(r"\[([^\]]+)\]\(([^)#:]+)(?:#[^)]*)?\)", link, text)


def _source(_app: Sphinx, docname: str, source: list[str]) -> None:
    source[0] = within(source[0], HERE / f"{docname}.md")
    if docname == "index":
        source[0] = toctrees(source[0])


def _mermaid(_app: Sphinx, doctree: nodes.document) -> None:
    """Draws Mermaid now, by Mermaid's own code, so that a page needs neither a script nor the internet."""
    blocks = [block for block in doctree.findall(nodes.literal_block) if block.get("language") == "mermaid"]
    for number, block in enumerate(blocks):
        # One page may hold several, each with styles under its own name.
        try:
            drawn = mermaidx.render(block.astext(), theme="neutral").svg().replace("my-svg", f"diagram-{number}")
        except RuntimeError as error:
            logging.getLogger(__name__).warning(str(error), location=block)
            continue
        block.replace_self(nodes.raw("", f'<div class="diagram">{drawn}</div>', format="html"))


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("source-read", _source)
    app.connect("doctree-read", _mermaid)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
