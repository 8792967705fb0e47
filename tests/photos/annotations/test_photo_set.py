"""Tests of reading the photos of a table of points."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

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
