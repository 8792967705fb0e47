"""HTML pages from the Jinja2 templates in ``templates/``, complete in one file.

A page contains its style, scripts, figures and data and loads nothing, so that the file can be sent
alone. All texts are escaped. A content security policy also forbids every request and every script
whose digest the page does not name, so that a text that became markup could not run. Knows neither
runs nor data sets.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

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
    """Write a page with a table and figures; all texts are escaped.

    Parameters
    ----------
    target
        Path of the page.
    template
        File name of a template that extends ``figures.html``.
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
    text = render_page(template, title=title, rows=rows, figures=embedded, header=header, **values)
    files.write_text(target, text)


def render_page(
    template: str, *, title: str, scripts: Sequence[str] = (), connects: bool = False, **values: Any
) -> str:
    """Return the text of a page.

    Parameters
    ----------
    template
        File name of a template that extends ``base.html``.
    title
        Title and heading.
    scripts
        Names of files in ``static/``, embedded in this order.
    connects
        Whether the page may request data from the server that it comes from.
    values
        Variables of the template.
    """
    frame = page_frame(scripts, connects=connects)
    return _environment().get_template(template).render(title=title, **frame, **values) + "\n"


def page_frame(scripts: Sequence[str] = (), *, connects: bool = False) -> dict[str, Any]:
    """Return the variables of ``base.html`` except the title, for pages of servers.

    Parameters
    ----------
    scripts, connects
        As for ``render_page``.
    """
    sources = [_static(name) for name in scripts]
    return {
        "style": Markup(_static("style.css")),  # our own file, not a text from outside
        "scripts": [Markup(source) for source in sources],
        "policy": _policy(sources, connects),
    }


def json_for_page(value: Any) -> Markup:
    """Return a JSON value for a ``<script type="application/json">``.

    The characters that could end the element or start markup are escaped.
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def template_folder() -> str:
    """Return the folder of the templates, for servers that extend ``base.html``."""
    return str(resources.files(str(__package__)) / "templates")


def _policy(sources: Sequence[str], connects: bool) -> str:
    """Return the content security policy of a page with these scripts."""
    digests = [
        f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"
        for source in sources
    ]
    # Vega compiles the expressions of our own chart specifications.
    allowed = " ".join((*digests, "'unsafe-eval'")) if digests else "'none'"
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; "
        f"img-src data: blob:; connect-src {chr(39)}{'self' if connects else 'none'}{chr(39)}; "
        "base-uri 'none'; form-action 'none'"
    )


@cache
def _static(name: str) -> str:
    """Return the text of a file in ``static/``, safe inside a script or style element."""
    text = (resources.files(str(__package__)) / "static" / name).read_text(encoding="utf-8")
    if "</script" in text.lower() or "</style" in text.lower():
        raise ValueError(f"{name} would end its element")
    return text


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
