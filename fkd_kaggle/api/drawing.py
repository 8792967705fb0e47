"""Figures of faces with their points, for notebooks."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from fkd_kaggle.api.faces import FaceSet, as_images
from fkd_kaggle.errors import DataError
from fkd_kaggle.report import drawing

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


class FacesFigure(Figure):
    """A matplotlib Figure that notebooks show without pyplot."""

    def _repr_png_(self) -> bytes:
        """Return the figure as a PNG; IPython calls this method."""
        FigureCanvasAgg(self)
        content = io.BytesIO()
        self.savefig(content, format="png", dpi=90)
        return content.getvalue()


def draw(
    images: ArrayLike | FaceSet,
    points: ArrayLike | None = None,
    labels: ArrayLike | None = None,
    *,
    titles: Sequence[str] | None = None,
    columns: int = 6,
) -> Figure:
    """Draw faces with predicted points (red ×) and labels (green +).

    Parameters
    ----------
    images
        (N, 96, 96) or (N, 9216) grey values, or faces. Draw a few dozen at most.
    points
        (N, 15, 2) or (N, 30) predicted pixels; NaN is not drawn.
    labels
        The same for labels. Default: the keypoints of ``images`` if these are faces.
    titles
        N lines above the faces.
    columns
        Number of faces in a row.

    Returns
    -------
    matplotlib.figure.Figure
        Notebooks show it; ``figure.savefig("faces.png")`` writes it.

    Raises
    ------
    DataError
        The arrays have other shapes.

    Examples
    --------
    >>> figure = fkd.draw(faces.images[:12], model.predict(faces.images[:12]))
    >>> figure.savefig("faces.png")
    """
    if labels is None and isinstance(images, FaceSet):
        labels = images.keypoints
    pixels = as_images(images)
    if titles is not None and len(titles) != len(pixels):
        raise DataError(f"titles has {len(titles)} lines for {len(pixels)} images")
    if columns < 1:
        raise DataError(f"columns must be at least 1, not {columns}")
    marks = []
    for name, values, make_marks in (
        ("labels", labels, drawing.label_marks),
        ("points", points, drawing.prediction_marks),
    ):
        if values is not None:
            marks.append(make_marks(_as_points(name, values, len(pixels))))
    lines = max(1, -(-len(pixels) // columns))
    figure = FacesFigure(figsize=(2 * columns, 2.15 * lines), layout="constrained")
    drawing.draw_faces_in(figure, pixels, titles or [""] * len(pixels), marks, columns)
    return figure


def _as_points(name: str, points: ArrayLike, count: int) -> np.ndarray:
    """Return (N, P, 2) float64 from (N, P, 2) or (N, 2P) pixels; ``name`` is for messages."""
    try:
        array = np.asarray(points, np.float64)
    except (TypeError, ValueError):
        raise DataError(f"{name} must be numbers in pixels, NaN where unknown") from None
    if array.ndim == 2 and array.shape[1] % 2 == 0:
        array = array.reshape(len(array), -1, 2)
    if array.ndim != 3 or len(array) != count or array.shape[2] != 2:
        raise DataError(f"{name} has shape {np.shape(points)}, but must have ({count}, 15, 2)")
    return array
