"""Arrays and face images as text inside a page: compressed, quantised, base64.

The page's script decodes them. Faces are sheets of 16 × 16 in WebP; a browser decodes only the
sheets that it shows, which keeps a phone's memory small: one sprite of 7,049 faces would need
260 MB decoded. Quality 50 takes 650 bytes for a face of the competition.
"""

from __future__ import annotations

import base64
import gzip
import io
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from PIL import Image

from fkd_kaggle.keypoints import IMAGE_SIZE

SHEET_SIDE: Final = 16
"""Faces along each side of a sheet."""

_QUALITY: Final = 50

_EFFORT: Final = 2
"""Of 0 to 6. Takes 3 s for 7,049 faces; effort 4 takes 7 s and makes the sheets 7 % smaller."""

_MISSING: Final = -32768
"""The int16 value that stands for NaN."""


def pack_points(values: np.ndarray, step: float) -> dict[str, Any]:
    """Return an array of any shape as JSON values, rounded to multiples of ``step``.

    Parameters
    ----------
    values
        Floats, NaN where unknown; values beyond ±32,767 steps are clipped.
    step
        Resolution, in the unit of the values.

    Returns
    -------
    "shape", "step" and "data": base64 of a gzip of int16, low bytes before high bytes.
    """
    flat = np.nan_to_num(values.astype(np.float64) / step, nan=0.0, posinf=32767, neginf=-32767)
    steps = np.clip(np.rint(flat), -32767, 32767).astype("<i2")
    steps[~np.isfinite(values)] = _MISSING
    # Low and high bytes apart: high bytes repeat, which gzip needs.
    planes = steps.reshape(-1).view(np.uint8).reshape(-1, 2).T
    # Level 6 and a fixed time, so that the same run gives the same page.
    content = gzip.compress(planes.tobytes(), 6, mtime=0)
    return {"shape": list(values.shape), "step": step, "data": _text(content)}


def pack_sheets(images: np.ndarray) -> list[str]:
    """Return sheets of faces as base64 of WebP images, 256 faces each, row by row.

    Parameters
    ----------
    images
        (N, 96, 96) uint8.
    """
    return [_text(_encode(sheet)) for sheet in _sheets(images)]


def _sheets(images: np.ndarray) -> Iterator[np.ndarray]:
    """Yield (H, W) uint8 sheets; the last one is only as high as its faces need."""
    size = SHEET_SIDE * SHEET_SIDE
    for start in range(0, len(images), size):
        block = images[start : start + size]
        lines = -(-len(block) // SHEET_SIDE)
        padded = np.zeros((lines * SHEET_SIDE, IMAGE_SIZE, IMAGE_SIZE), np.uint8)
        padded[: len(block)] = block
        grid = padded.reshape(lines, SHEET_SIDE, IMAGE_SIZE, IMAGE_SIZE)
        yield grid.transpose(0, 2, 1, 3).reshape(lines * IMAGE_SIZE, SHEET_SIDE * IMAGE_SIZE)


def _encode(sheet: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(sheet).save(stream, "WEBP", quality=_QUALITY, method=_EFFORT)
    return stream.getvalue()


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
