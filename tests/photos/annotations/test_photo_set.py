"""Tests of reading the photos of a table of points."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fkd_kaggle.errors import DataError
from fkd_kaggle.photos.annotations.photo_set import load_photo_set
from fkd_kaggle.photos.annotations.point_table import PointTable


def test_photo_in_two_rows_is_used_once(tmp_path: Path) -> None:
    names = [f"{number}.png" for number in range(20)]
    for name in names:
        Image.new("RGB", (50, 40)).save(tmp_path / name)
    points = np.arange(20 * 2 * 2, dtype=np.float64).reshape(20, 2, 2) % 39 + 0.5
    table = PointTable(
        (*names, "3.png", "7.png"),
        np.concatenate([points, points[3:4], points[6:7]]),
        ("left", "right"),
    )
    photos = load_photo_set(table, tmp_path, 32)
    assert list(photos.names) == names
    assert [str(skipped) for skipped in photos.skipped] == [
        "3.png: is listed again: the first time is used",
        "7.png: is listed again with other points: the first time is used",
    ]


def test_photos_that_cannot_be_used_are_named_and_the_others_read(tmp_path: Path) -> None:
    names = [f"{number}.png" for number in range(24)]
    for name in names:
        Image.new("RGB", (50, 40)).save(tmp_path / name)
    (tmp_path / "0.png").write_bytes(b"no photo")
    (tmp_path / "1.png").unlink()
    points = np.full((24, 2, 2), 30.0)
    points[2, 1] = (30, 400)
    points[3, 1] = np.nan
    seen: list[tuple[int, int]] = []
    photos = load_photo_set(
        PointTable(tuple(names), points, ("left", "right")),
        tmp_path,
        32,
        lambda done, count: seen.append((done, count)),
    )
    assert list(photos.names) == names[4:]
    assert photos.images.shape == (20, 32, 32, 3)
    # The edge of a photo is half a pixel before the centre of its first pixel.
    expected = np.broadcast_to((30.5 / 50, 30.5 / 40), (20, 2, 2))
    np.testing.assert_allclose(photos.points, expected, rtol=1e-6)
    assert photos.incomplete == 1
    reasons = {skipped.name: skipped.reason for skipped in photos.skipped}
    assert reasons.keys() == {"0.png", "1.png", "2.png"}
    assert reasons["2.png"] == "its points lie outside the photo (50×40)"
    assert str(tmp_path) not in reasons["0.png"]
    assert seen == [(0, 23)]


def test_too_few_usable_photos_are_refused(tmp_path: Path) -> None:
    names = tuple(f"{number}.png" for number in range(3))
    for name in names:
        Image.new("RGB", (50, 40)).save(tmp_path / name)
    with pytest.raises(DataError, match="20"):
        load_photo_set(PointTable(names, np.full((3, 1, 2), 9.0), ("nose",)), tmp_path, 32)
