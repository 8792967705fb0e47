"""What pictures of runs, data sets and comparisons share: saving, faces with points, a page.

Draws what it is given with matplotlib's object interface; knows neither runs nor recipes.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, StrMethodFormatter

from fkd_kaggle import files
from fkd_kaggle.keypoints import SIZE


@dataclass(frozen=True)
class Marks:
    """Points to draw on faces, a colour and a marker for all."""

    points: np.ndarray
    """(K, P, 2) pixels; NaN is not drawn."""
    color: str
    marker: str


def labels(points: np.ndarray) -> Marks:
    """Return (K, P, 2) labels as green crosses, as every picture here shows them."""
    return Marks(points, "lime", "+")


def answers(points: np.ndarray) -> Marks:
    """Return (K, P, 2) points that a model put there as red crosses."""
    return Marks(points, "red", "x")


def draw_faces(
    images: np.ndarray, titles: Sequence[str], target: Path, marks: Sequence[Marks]
) -> None:
    """Draw faces six in a line, each with its title and its points.

    Parameters
    ----------
    images
        (K, 96, 96) uint8.
    marks
        Drawn in this order, each over the one before.
    """
    lines = max(1, -(-len(images) // 6))
    figure = Figure(figsize=(12, 2.15 * lines), layout="constrained")
    for index, axes in enumerate(figure.subplots(lines, 6, squeeze=False).flat):
        axes.axis("off")
        if index < len(images):
            draw_face(axes, images[index])
            for mark in marks:
                axes.scatter(
                    *mark.points[index].T, s=12, c=mark.color, marker=mark.marker, linewidths=0.8
                )
            axes.set_title(titles[index], fontsize=8)
    save(figure, target)


def draw_face(axes: Axes, image: np.ndarray) -> None:
    """Draw a (96, 96) face in the pixel coordinates of its keypoints."""
    axes.imshow(image, cmap="gray", vmin=0, vmax=255)
    axes.set(xlim=(-0.5, SIZE - 0.5), ylim=(SIZE - 0.5, -0.5))


def logarithmic(axes: Axes) -> None:
    """Make the y axis logarithmic with plain numbers at 1, 2, 3 and 5."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 3.0, 5.0)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter("")


def save(figure: Figure, target: Path) -> None:
    """Write a figure as a PNG, whole or not at all."""
    FigureCanvasAgg(figure)
    with files.atomic_path(target) as path:
        figure.savefig(path, dpi=90)


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
