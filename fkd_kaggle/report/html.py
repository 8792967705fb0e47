"""What pictures of runs, data sets and comparisons share: saving, faces with points, a page.

Draws what it is given with matplotlib's object interface; knows neither runs nor recipes.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path

from fkd_kaggle import files


def write_page(
    target: Path,
    title: str,
    words: str,
    rows: Sequence[Sequence[str]],
    pictures: Mapping[str, str],
    *,
    header: Sequence[str] = (),
) -> None:
    """Write a page of a table and pictures that loads nothing, so that it can be sent alone.

    Parameters
    ----------
    words
        A line above the table.
    rows
        Cells of the table, as they are to be read.
    pictures
        Captions by file name; the pictures lie beside the page and are embedded.
    header
        Names of the table's columns, where they need any.
    """
    table = (_row(header, "th") if header else "") + "".join(_row(row, "td") for row in rows)
    figures = "".join(
        f'<figure><img alt="" src="data:image/png;base64,{_embedded(target.parent / name)}">'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
        for name, caption in pictures.items()
    )
    title = html.escape(title)
    files.write_text(
        target,
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>'
        "body{font:15px/1.5 system-ui,sans-serif;max-width:75em;margin:2em auto;padding:0 1em}"
        "img{max-width:100%}figure{margin:2em 0}td,th{padding:0 1em 0 0;text-align:left}"
        f"</style><h1>{title}</h1><p>{html.escape(words)}</p><table>{table}</table>"
        f"{figures}</html>\n",
    )


def _row(cells: Sequence[str], kind: str) -> str:
    return "<tr>" + "".join(f"<{kind}>{html.escape(cell)}</{kind}>" for cell in cells) + "</tr>"


def _embedded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode("ascii")
