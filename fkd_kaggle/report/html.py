"""HTML pages: a title, a text, a table and figures, from the Jinja2 templates in ``templates/``.

A page embeds its figures and loads nothing, so that the file can be sent alone. Knows neither runs
nor data sets: each kind of page is a template that extends ``base.html``.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from fkd_kaggle import files


def write_page(
    target: Path,
    template: str,
    *,
    title: str,
    rows: Sequence[Sequence[str]],
    figures: Mapping[str, str],
    header: Sequence[str] = (),
    **values: Any,
) -> None:
    """Write a page; all texts are escaped.

    Parameters
    ----------
    target
        Path of the page.
    template
        File name of a template that extends ``base.html``.
    title
        Title and heading.
    rows
        Cells of the table, formatted.
    figures
        Captions by file name; the PNG files lie in the page's folder and are embedded.
    header
        Names of the table's columns, if any.
    values
        Variables of the template itself.
    """
    embedded = [
        (base64.b64encode((target.parent / name).read_bytes()).decode("ascii"), caption)
        for name, caption in figures.items()
    ]
    text = (
        _environment()
        .get_template(template)
        .render(title=title, rows=rows, figures=embedded, header=header, **values)
    )
    files.write_text(target, text + "\n")


@cache
def _environment() -> jinja2.Environment:
    """Return the environment that loads and escapes the templates; created once."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader(str(__package__)),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
