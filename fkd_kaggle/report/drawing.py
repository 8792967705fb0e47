"""Drawing with matplotlib: faces with points, logarithmic axes, saving figures.

Uses matplotlib's object interface and draws the arrays it is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, StrMethodFormatter

from fkd_kaggle import files
from fkd_kaggle.keypoints import IMAGE_SIZE


@dataclass(frozen=True)
class PointMarks:
    """Points to draw on faces, all in one colour and marker."""

    points: np.ndarray
    """(K, P, 2) pixels; NaN is not drawn."""
    color: str
    """matplotlib colour."""
    marker: str
    """matplotlib marker."""


def label_marks(points: np.ndarray) -> PointMarks:
    """Return (K, P, 2) labels as green crosses."""
    return PointMarks(points, "lime", "+")


def prediction_marks(points: np.ndarray) -> PointMarks:
    """Return (K, P, 2) predictions as red diagonal crosses."""
    return PointMarks(points, "red", "x")


def draw_faces(
    images: np.ndarray, titles: Sequence[str], target: Path, marks: Sequence[PointMarks]
) -> None:
    """Draw faces, six in a row, each with its title and its points.

    Parameters
    ----------
    images
        (K, 96, 96) uint8.
    titles
        K titles.
    target
        Path of the PNG.
    marks
        Points of the K faces, drawn in this order.
    """
    lines = max(1, -(-len(images) // 6))
    figure = Figure(figsize=(12, 2.15 * lines), layout="constrained")
    draw_faces_in(figure, images, titles, marks)
    save_figure(figure, target)


def draw_faces_in(
    figure: Figure,
    images: np.ndarray,
    titles: Sequence[str],
    marks: Sequence[PointMarks],
    columns: int = 6,
) -> None:
    """Draw faces in a figure, ``columns`` in a row; other parameters as for ``draw_faces``."""
    lines = max(1, -(-len(images) // columns))
    for index, axes in enumerate(figure.subplots(lines, columns, squeeze=False).flat):
        axes.axis("off")
        if index < len(images):
            draw_face(axes, images[index])
            for mark in marks:
                axes.scatter(
                    *mark.points[index].T, s=12, c=mark.color, marker=mark.marker, linewidths=0.8
                )
            axes.set_title(titles[index], fontsize=8)


def draw_face(axes: Axes, image: np.ndarray) -> None:
    """Draw a (96, 96) image, with axes in the pixel coordinates of its keypoints."""
    axes.imshow(image, cmap="gray", vmin=0, vmax=255)
    axes.set(xlim=(-0.5, IMAGE_SIZE - 0.5), ylim=(IMAGE_SIZE - 0.5, -0.5))


def use_log_axis(axes: Axes) -> None:
    """Make the y axis logarithmic, labelled with plain numbers at 1, 2, 3 and 5."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 3.0, 5.0)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter("")


def save_figure(figure: Figure, target: Path) -> None:
    """Write a figure as a PNG, atomically."""
    FigureCanvasAgg(figure)
    with files.atomic_path(target) as path:
        figure.savefig(path, dpi=90)
