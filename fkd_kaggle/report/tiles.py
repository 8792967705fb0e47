"""Tiles: faces in photos with annotated points (green +) and predicted points (red ×).

Drawn with Pillow, because matplotlib takes a second for five and hundreds are needed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

TILE: Final = 320
"""Width and height of a tile in pixels, without its caption."""

_CAPTION: Final = 22

_GREEN: Final = (0, 220, 60)
_RED: Final = (255, 40, 40)
_YELLOW: Final = (255, 230, 0)


def make_tile(
    photo: np.ndarray,
    predicted: np.ndarray | None,
    annotated: np.ndarray | None = None,
    caption: str = "",
    *,
    whole: bool = False,
) -> Image.Image:
    """Return the part of a photo around a face, with its points and a line of text below.

    Parameters
    ----------
    photo
        (H, W, 3) uint8.
    predicted, annotated
        (P, 2) photo pixels; equal rows of both are the same point and are joined by a line. Without
        either, the whole photo is shown.
    caption
        Text below the face, truncated at the left if it is too long.
    whole
        Whether to show the whole photo in any case.

    Returns
    -------
    RGB image, 320 pixels wide and 342 high.
    """
    left, top, side = _window(photo, *(() if whole else (predicted, annotated)))
    # Pillow's coordinates start at the corner of pixel 0, whose centre is at 0.5.
    box = (left + 0.5, top + 0.5, left + side + 0.5, top + side + 0.5)
    image = Image.fromarray(photo).transform(
        (TILE, TILE), Image.Transform.EXTENT, box, Image.Resampling.BICUBIC
    )
    tile = Image.new("RGB", (TILE, TILE + _CAPTION), "white")
    tile.paste(image)
    draw = ImageDraw.Draw(tile)
    scale = np.array([left, top]), side
    if predicted is not None and annotated is not None:
        pairs = zip(_to_tile(predicted, *scale), _to_tile(annotated, *scale), strict=True)
        for start, end in pairs:
            draw.line([start, end], fill=_YELLOW, width=1)
    for x, y in _to_tile(annotated, *scale):
        draw.line((x - 5, y, x + 5, y), fill=_GREEN, width=2)
        draw.line((x, y - 5, x, y + 5), fill=_GREEN, width=2)
    for x, y in _to_tile(predicted, *scale):
        draw.line((x - 4, y - 4, x + 4, y + 4), fill=_RED, width=2)
        draw.line((x - 4, y + 4, x + 4, y - 4), fill=_RED, width=2)
    font = ImageFont.load_default(size=14)
    while caption and draw.textlength(caption, font=font) > TILE - 8:
        caption = "…" + caption[2:]
    draw.text((4, TILE + 3), caption, fill="black", font=font)
    return tile


def make_sheet(tiles: Sequence[Image.Image], columns: int = 6, width: int = 200) -> Image.Image:
    """Return an image of tiles side by side.

    Parameters
    ----------
    tiles
        Images as ``make_tile`` returns them, or of the same aspect ratio.
    columns
        Maximum number of tiles in a row.
    width
        Width in pixels to which each tile is scaled.
    """
    columns = max(1, min(columns, len(tiles)))
    height = round(width * (TILE + _CAPTION) / TILE)
    sheet = Image.new("RGB", (columns * width, math.ceil(len(tiles) / columns) * height), "white")
    for position, tile in enumerate(tiles):
        small = tile.resize((width, height), Image.Resampling.LANCZOS)
        sheet.paste(small, (position % columns * width, position // columns * height))
    return sheet


def _to_tile(
    points: np.ndarray | None, corner: np.ndarray, side: float
) -> list[tuple[float, float]]:
    """Return the tile pixels of (P, 2) photo pixels; none if there are no points."""
    if points is None:
        return []
    return [(float(x), float(y)) for x, y in (points - corner) / side * TILE]


def _window(photo: np.ndarray, *point_sets: np.ndarray | None) -> tuple[float, float, float]:
    """Return left, top and side in photo pixels of the square to show: twice the points' extent."""
    known = [points for points in point_sets if points is not None]
    if known:
        points = np.concatenate(known)
        low, high = points.min(0), points.max(0)
        side = 2.0 * max(float((high - low).max()), 8.0)
        middle = (low + high) / 2
    else:
        side = float(max(photo.shape[:2]))
        middle = (np.array(photo.shape[1::-1]) - 1) / 2
    return float(middle[0] - side / 2), float(middle[1] - side / 2), side
