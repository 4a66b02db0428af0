"""The report as one page of HTML: no script, nothing from elsewhere, the same bytes for the same content."""

from __future__ import annotations

import functools

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from cloudmart.errors import printable
from cloudmart.report import charts
from cloudmart.report.charts import Chart
from cloudmart.report.sections import Content


def page(content: Content) -> str:
    """The whole page. Every text of the content is escaped."""
    return printable(_template().render(content=content, svg=_svg))


@functools.cache
def _template():  # type: ignore[no-untyped-def]
    environment = Environment(
        loader=PackageLoader("cloudmart.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("page.jinja")


def _svg(chart: Chart, ident: str) -> Markup:
    # The drawing is made by a writer of XML, which escapes what it is given.
    return Markup(charts.svg(chart, ident))  # noqa: S704
