"""Drawing faces in photos with what was annotated (green +) and what is predicted (red ×).

Tiles are drawn with Pillow: hundreds of them are wanted, and matplotlib takes a second for five.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

TILE = 320
"""Width and height in pixels of a drawn face, without its caption."""

_CAPTION = 22

_GREEN, _RED = (0, 220, 60), (255, 40, 40)


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
        (P, 2) photo pixels; of both, the same row is the same point and they are joined by a line.
        With neither, the whole photo is shown.
    whole
        Show the whole photo all the same.
    """
    left, top, side = _window(photo, *(() if whole else (predicted, annotated)))
    # In corner-based coordinates, as Pillow counts: the centre of pixel 0 is at 0.5.
    box = (left + 0.5, top + 0.5, left + side + 0.5, top + side + 0.5)
    image = Image.fromarray(photo).transform(
        (TILE, TILE), Image.Transform.EXTENT, box, Image.Resampling.BICUBIC
    )
    result = Image.new("RGB", (TILE, TILE + _CAPTION), "white")
    result.paste(image)
    draw = ImageDraw.Draw(result)

    def place(point: np.ndarray) -> tuple[float, float]:
        x, y = (point - (left, top)) / side * TILE
        return float(x), float(y)

    if predicted is not None and annotated is not None:
        for one, other in zip(predicted, annotated, strict=True):
            draw.line([place(one), place(other)], fill=(255, 230, 0), width=1)
    for point in annotated if annotated is not None else ():
        x, y = place(point)
        draw.line((x - 5, y, x + 5, y), fill=_GREEN, width=2)
        draw.line((x, y - 5, x, y + 5), fill=_GREEN, width=2)
    for point in predicted if predicted is not None else ():
        x, y = place(point)
        draw.line((x - 4, y - 4, x + 4, y + 4), fill=_RED, width=2)
        draw.line((x - 4, y + 4, x + 4, y - 4), fill=_RED, width=2)
    font = ImageFont.load_default(size=14)
    while caption and draw.textlength(caption, font=font) > TILE - 8:
        caption = "…" + caption[2:]
    draw.text((4, TILE + 3), caption, fill="black", font=font)
    return result


def make_sheet(tiles: Sequence[Image.Image], columns: int = 6, width: int = 200) -> Image.Image:
    """Return tiles side by side, each made ``width`` pixels wide."""
    columns = max(1, min(columns, len(tiles)))
    height = round(width * (TILE + _CAPTION) / TILE)
    result = Image.new("RGB", (columns * width, math.ceil(len(tiles) / columns) * height), "white")
    for position, one in enumerate(tiles):
        small = one.resize((width, height), Image.Resampling.LANCZOS)
        result.paste(small, (position % columns * width, position // columns * height))
    return result


def _window(photo: np.ndarray, *clouds: np.ndarray | None) -> tuple[float, float, float]:
    """Return left, top and side of the square to show: points with half as much around them."""
    known = [points for points in clouds if points is not None]
    if known:
        points = np.concatenate(known)
        low, high = points.min(0), points.max(0)
        side = 2.0 * max(float((high - low).max()), 8.0)
        middle = (low + high) / 2
    else:
        side = float(max(photo.shape[:2]))
        middle = (np.array(photo.shape[1::-1]) - 1) / 2
    return float(middle[0] - side / 2), float(middle[1] - side / 2), side
