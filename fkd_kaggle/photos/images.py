"""Image files as arrays: decoding photos, turning them upright and converting them to grey.

This module raises ``DataError`` for a file that cannot be read. Callers that read many files decide
whether to skip it. Which files of a folder are photos is decided in ``photo_folder``.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from fkd_kaggle import files
from fkd_kaggle.errors import DataError
from fkd_kaggle.formatting import one_line
from fkd_kaggle.photos import photo_folder

_FORMATS: Final = (
    "AVIF",
    "BMP",
    "DIB",
    "GIF",
    "JPEG",
    "JPEG2000",
    "MPO",
    "PNG",
    "PPM",
    "TIFF",
    "WEBP",
)
"""The formats that are read. Pillow's others include EPS, which starts Ghostscript, whatever the
file's suffix is."""

_ORIENTATION: Final = 0x0112
"""The EXIF tag of the orientation."""

_TRANSPOSITIONS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation → what turns the stored pixels upright. 1 is upright."""


@dataclass(frozen=True)
class Photo:
    """A decoded photo, turned upright."""

    pixels: np.ndarray
    """(H, W, 3) uint8 RGB."""
    orientation: int
    """EXIF orientation of the stored pixels, 1 to 8; 1 is upright."""

    @property
    def size(self) -> tuple[int, int]:
        """Return width and height of the upright photo in pixels."""
        return self.pixels.shape[1], self.pixels.shape[0]

    @property
    def stored_size(self) -> tuple[int, int]:
        """Return width and height of the photo as stored, in pixels."""
        return self.size if self.orientation < 5 else self.size[::-1]

    def stored_pixels(self) -> np.ndarray:
        """Return (H, W, 3) uint8 RGB as stored, without the turn of the EXIF orientation."""
        if self.orientation == 1:
            return self.pixels
        inverse = {6: 8, 8: 6}.get(self.orientation, self.orientation)
        return np.asarray(Image.fromarray(self.pixels).transpose(_TRANSPOSITIONS[inverse]))


def read_photo(path: Path) -> np.ndarray:
    """Read an image file as 8-bit RGB, turned as its EXIF orientation says.

    Parameters
    ----------
    path
        The image file; see ``load_photo``.

    Returns
    -------
    (H, W, 3) uint8 RGB.

    Raises
    ------
    DataError
        As ``load_photo``.
    """
    return load_photo(path).pixels


def load_photo(path: Path) -> Photo:
    """Read an image file as 8-bit RGB with its EXIF orientation.

    Grey, palette, CMYK, 16-bit and floating-point images are converted. Transparent pixels are
    composited on mid-grey. The first frame of an animation is read. A damaged EXIF block is
    ignored.

    Parameters
    ----------
    path
        The image file, in one of the formats AVIF, BMP, GIF, HEIC (if ``pillow-heif`` is
        installed), JPEG, JPEG 2000, PNG, PPM, TIFF and WebP. The suffix does not matter.

    Raises
    ------
    DataError
        The file does not exist, is not an image, is damaged or is too large.
    """
    try:
        with warnings.catch_warnings():
            # Pillow warns above its pixel limit and refuses above twice the limit. That much
            # memory is acceptable here. Damaged metadata gives further warnings.
            warnings.simplefilter("ignore")
            with Image.open(path, formats=_formats()) as image:
                # Before loading: TIFFs are turned upright while they are loaded.
                orientation = _orientation(image)
                image.load()
                turned = image.format == "TIFF" or orientation == 1
                upright = image if turned else image.transpose(_TRANSPOSITIONS[orientation])
                return Photo(_to_rgb(upright), orientation)
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such photo") from None
    except IsADirectoryError:
        raise DataError(f"{path}: is a folder, not a photo") from None
    except UnidentifiedImageError:
        raise DataError(f"{path}: {photo_folder.unreadable_reason(path)}") from None
    except Image.DecompressionBombError:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6
        raise DataError(f"{path}: more than {limit} million pixels") from None
    except MemoryError:
        raise DataError(f"{path}: too large for this machine's memory") from None
    # Pillow's decoders raise almost any exception for a damaged file: OSError, SyntaxError,
    # struct.error, zlib.error, KeyError, TypeError, …
    except Exception as error:
        reason = one_line(str(error), 200) or type(error).__name__
        raise DataError(f"{path}: damaged or not readable ({reason})") from None


def read_sizes(path: Path) -> tuple[tuple[int, int], ...]:
    """Return width and height of a photo upright and, if it differs, as stored; none if unreadable.

    Only the file's header is read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=_formats()) as image:
                stored, orientation = image.size, _orientation(image)
    except Exception:  # as in load_photo, which reports it
        return ()
    return (stored,) if orientation < 5 else (stored[::-1], stored)


def turn_upright(points: np.ndarray, stored_size: tuple[int, int], orientation: int) -> np.ndarray:
    """Map points of a photo as stored to the photo as its EXIF orientation shows it.

    Parameters
    ----------
    points
        (…, 2) pixels of the stored photo; the centre of the top left pixel is (0, 0).
    stored_size
        Width and height of the stored photo in pixels.
    orientation
        EXIF orientation, 1 to 8.

    Returns
    -------
    (…, 2) pixels of the upright photo.
    """
    x, y = points[..., 0], points[..., 1]
    right, bottom = stored_size[0] - 1 - x, stored_size[1] - 1 - y
    turned = {
        1: (x, y),
        2: (right, y),
        3: (right, bottom),
        4: (x, bottom),
        5: (y, x),
        6: (bottom, x),
        7: (bottom, right),
        8: (y, right),
    }[orientation]
    return np.stack(turned, -1)


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


def save_picture(image: Image.Image, path: Path) -> None:
    """Write a picture of this program as a PNG that is never taken for a photo.

    A text chunk marks the file, so that ``photo_folder.scan_folder`` leaves it out.
    """
    mark = PngImagePlugin.PngInfo()
    mark.add_text("Software", photo_folder.OWN_SOFTWARE)
    with files.atomic_path(path) as temporary:
        image.save(temporary, "PNG", pnginfo=mark)


@cache
def _formats() -> tuple[Any, ...]:
    """Return the names of the readable formats, HEIC included if ``pillow-heif`` is installed."""
    Image.init()
    formats: list[str] = [name for name in _FORMATS if name in Image.OPEN]
    if photo_folder.reads_heic():
        formats.append("HEIF")
    return tuple(formats)


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation of an image, 1 if it has none or its EXIF block is damaged."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
        return int(value) if value in _TRANSPOSITIONS else 1
    except Exception:  # any, as for the pixels
        return 1


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
