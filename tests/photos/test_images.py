"""Tests of decoding and listing image files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fkd_kaggle.errors import DataError
from fkd_kaggle.photos.images import read_photo
from fkd_kaggle.photos.photo_folder import list_photos


def ramp(width: int = 20, height: int = 12) -> np.ndarray:
    """Return (H, W) uint8, darker to the left, so that rotation and mirroring are visible."""
    return np.tile(np.linspace(20, 230, width).astype(np.uint8), (height, 1))


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGB", "RGBA", "LA", "CMYK", "YCbCr"])
def test_any_image_mode_is_read_as_rgb(tmp_path: Path, mode: str) -> None:
    suffix = "jpg" if mode in ("CMYK", "YCbCr") else "png"
    Image.fromarray(ramp()).convert("RGB").convert(mode).save(tmp_path / f"a.{suffix}")
    photo = read_photo(tmp_path / f"a.{suffix}")
    assert photo.shape == (12, 20, 3)
    assert photo.dtype == np.uint8
    assert photo[:, 0].mean() < photo[:, -1].mean()


@pytest.mark.parametrize(
    ("values", "name"),
    [
        (ramp().astype(np.uint16) * 257, "deep.png"),
        (ramp().astype(np.float32) / 255, "float.tif"),
        (ramp().astype(np.int32), "long.tif"),
    ],
)
def test_high_bit_depths_are_scaled_to_8_bits(
    tmp_path: Path, values: np.ndarray, name: str
) -> None:
    Image.fromarray(values).save(tmp_path / name)
    assert np.abs(read_photo(tmp_path / name)[:, :, 0].astype(int) - ramp()).max() <= 1


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90°
    Image.fromarray(ramp()).convert("RGB").save(tmp_path / "a.jpg", exif=exif)
    photo = read_photo(tmp_path / "a.jpg")
    assert photo.shape == (20, 12, 3)
    assert photo[0].mean() < photo[-1].mean()


def test_transparent_pixels_become_mid_grey(tmp_path: Path) -> None:
    layers = np.zeros((8, 8, 4), np.uint8)
    layers[:4] = (250, 250, 250, 255)
    Image.fromarray(layers).save(tmp_path / "a.png")
    photo = read_photo(tmp_path / "a.png")
    assert (photo[:4] == 250).all()
    assert (photo[4:] == 128).all()


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"])
def test_error_for_a_file_that_is_no_image_names_it(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.png").write_bytes(content)
    with pytest.raises(DataError, match=r"bad\.png: "):
        read_photo(tmp_path / "bad.png")


def test_error_for_a_truncated_photo_names_it(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "whole.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:900])
    with pytest.raises(DataError, match=r"cut\.jpg: damaged"):
        read_photo(tmp_path / "cut.jpg")


def test_photos_of_a_folder_and_its_subfolders_are_listed(tmp_path: Path) -> None:
    for name in ("b.JPG", "below/a.png", ".hidden.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in list_photos(tmp_path)] == ["b.JPG", "a.png"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no photo"):
        list_photos(tmp_path / "empty")
