"""Reading photos: whatever a camera, a scanner or a web page left, as 8-bit RGB or grey.

One bad file is one ``DataError`` with its name; whoever reads many reports it and goes on.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from fkd_kaggle.errors import DataError

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""Files in a folder that are taken for photos."""


@dataclass(frozen=True)
class SkippedInput:
    """Something in the input that was left out, by name, and why."""

    name: str
    why: str

    def __str__(self) -> str:
        return f"{self.name}: {self.why}"


def read_photo(path: Path, *, upright: bool = True) -> np.ndarray:
    """Return a photo as (H, W, 3) uint8 RGB, turned upright as its EXIF orientation says.

    Grey, palette, CMYK, 16-bit and floating-point images are converted; transparent parts are
    put on mid-grey; of an animation the first frame is taken. With ``upright`` false the EXIF
    orientation is left alone.

    Raises
    ------
    DataError
        There is no such file, it is no image, or it is damaged or too large.
    """
    try:
        with warnings.catch_warnings():
            # Between one and two times Pillow's limit it only warns; that much memory is no harm.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                return _as_rgb(ImageOps.exif_transpose(image) if upright else image)
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such photo") from None
    except UnidentifiedImageError:
        raise DataError(f"{path}: not an image that can be read") from None
    except Image.DecompressionBombError:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6
        raise DataError(f"{path}: more than {limit} million pixels") from None
    # Pillow's plugins raise all of these on damaged files.
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, OverflowError) as error:
        raise DataError(f"{path}: damaged or not readable ({error})") from None


def to_grey(photo: np.ndarray) -> np.ndarray:
    """Return (H, W) float32 luma in 0–255 of an (H, W, 3) RGB photo (ITU-R 601, as in JPEG)."""
    return photo.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)


def list_photos(folder: Path) -> list[Path]:
    """Return the photos in a folder and the folders below it, by name.

    Raises
    ------
    DataError
        It is not a folder, or there is no photo in it.
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


def _as_rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I") or image.mode == "F":
        return _from_deep(np.asarray(image).astype(np.float64))
    if image.has_transparency_data:
        layers = image.convert("RGBA")
        ground = Image.new("RGBA", layers.size, (128, 128, 128, 255))
        image = Image.alpha_composite(ground, layers)
    return np.asarray(image.convert("RGB"))


def _from_deep(values: np.ndarray) -> np.ndarray:
    """Return (H, W, 3) uint8 of grey values that may reach 1 (floats), 255 or 65,535."""
    values = np.nan_to_num(values)
    top = values.max(initial=0)
    full = 1.0 if top <= 1 else 255.0 if top <= 255 else max(65535.0, top)
    bytes_ = np.rint(np.clip(values / full, 0, 1) * 255).astype(np.uint8)
    return np.repeat(bytes_[:, :, None], 3, axis=2)
