"""Tests of reading the photos of a table of points."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fkd_kaggle.errors import DataError, RecipeError
from fkd_kaggle.photos.annotations.photo_set import input_side, load_photo_set, split_photos
from fkd_kaggle.photos.annotations.point_table import PointTable
from fkd_kaggle.recipes.schema import Recipe


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


def test_normalized_points_may_lie_outside_of_their_photo(tmp_path: Path) -> None:
    names = tuple(f"{number}.png" for number in range(22))
    for name in names:
        Image.new("RGB", (50, 40)).save(tmp_path / name)
    points = np.full((22, 2, 2), 0.5)
    points[3, 1, 0] = 1.02
    points[4] = 1.6
    photos = load_photo_set(PointTable(names, points, ("left", "right")), tmp_path, 32)
    assert photos.names == names[:4] + names[5:]
    np.testing.assert_allclose(photos.points[3], points[3], rtol=1e-6)
    assert [str(item) for item in photos.skipped] == [
        "4.png: its points lie outside the photo (50×40)"
    ]


def test_a_split_without_a_training_photo_is_refused() -> None:
    with pytest.raises(RecipeError, match="leave none of 33 photos for training"):
        split_photos(33, Recipe("mine", held_out=0.97), seed=0)
    split = split_photos(33, Recipe("mine", held_out=0.9, validation=0.5), seed=0)
    assert (len(split.training), len(split.validation), len(split.test)) == (1, 2, 30)


@pytest.mark.parametrize("side", [0, -1, 31])
def test_a_side_that_is_too_small_is_refused(side: int) -> None:
    with pytest.raises(RecipeError, match=f"recipe mine: side must be 32 or more, not {side}"):
        input_side(Recipe("mine", options={"side": side}))
