"""Image files as arrays: decoding photos, converting them to grey and listing a folder of them.

This module raises ``DataError`` for a file that cannot be read. Callers that read many files decide
whether to skip it.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from fkd_kaggle.errors import DataError

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""Suffixes, in lower case, of the files that ``list_photos`` returns."""


def read_photo(path: Path, *, upright: bool = True) -> np.ndarray:
    """Read an image file as 8-bit RGB.

    Grey, palette, CMYK, 16-bit and floating-point images are converted. Transparent pixels are
    composited on mid-grey. The first frame of an animation is read.

    Parameters
    ----------
    path
        The image file, in any format that Pillow reads.
    upright
        Rotate and mirror the photo as its EXIF orientation says. If false, return the pixels as
        they are stored.

    Returns
    -------
    (H, W, 3) uint8 RGB.

    Raises
    ------
    DataError
        The file does not exist, is not an image, is damaged or is too large.
    """
    try:
        with warnings.catch_warnings():
            # Pillow warns above its pixel limit and refuses above twice the limit. That much
            # memory is acceptable here.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                return _to_rgb(ImageOps.exif_transpose(image) if upright else image)
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such photo") from None
    except UnidentifiedImageError:
        raise DataError(f"{path}: not an image that can be read") from None
    except Image.DecompressionBombError:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6
        raise DataError(f"{path}: more than {limit} million pixels") from None
    # Pillow's plugins raise all of these for damaged files.
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, OverflowError) as error:
        raise DataError(f"{path}: damaged or not readable ({error})") from None


def to_grey(photo: np.ndarray) -> np.ndarray:
    """Convert a photo to grey (luma of ITU-R 601, as in JPEG).

    Parameters
    ----------
    photo
        (H, W, 3) uint8 RGB.

    Returns
    -------
    (H, W) float32 from 0 to 255.
    """
    return photo.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)


def list_photos(folder: Path) -> list[Path]:
    """Return the paths of the photos in a folder and its subfolders, sorted; hidden files excluded.

    Raises
    ------
    DataError
        ``folder`` is not a folder, or contains no photo.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder of photos")
    found = [
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    ]
    if not found:
        raise DataError(f"{folder} holds no photo ({', '.join(SUFFIXES)})")
    return sorted(found)


def _to_rgb(image: Image.Image) -> np.ndarray:
    """Return (H, W, 3) uint8 RGB of an image in any mode."""
    if image.mode.startswith("I") or image.mode == "F":
        return _high_depth_to_rgb(np.asarray(image).astype(np.float64))
    if image.has_transparency_data:
        layers = image.convert("RGBA")
        background = Image.new("RGBA", layers.size, (128, 128, 128, 255))
        image = Image.alpha_composite(background, layers)
    return np.asarray(image.convert("RGB"))


def _high_depth_to_rgb(values: np.ndarray) -> np.ndarray:
    """Return (H, W, 3) uint8 of (H, W) float64 grey values.

    The white level is not stored in such files. It is derived from the largest value: 1 (floats),
    255 or at least 65,535.
    """
    values = np.nan_to_num(values)
    largest = values.max(initial=0)
    white = 1.0 if largest <= 1 else 255.0 if largest <= 255 else max(65535.0, largest)
    grey = np.rint(np.clip(values / white, 0, 1) * 255).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)
