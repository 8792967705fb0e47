"""Fuzz test of pictures and annotation files: an array or a face, or one line."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mutations import Budget, edits, fuzz, mutate
from PIL import Image

from fkd_kaggle.errors import DataError
from fkd_kaggle.photos.annotations import cvat, point_table
from fkd_kaggle.photos.images import load_photo, read_sizes
from fkd_kaggle.photos.photo_folder import scan_folder
from fkd_kaggle.photos.photo_names import PhotoName, find_photos

pytestmark = pytest.mark.slow

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF", "MPO")

POINTS = ";".join(f"{10 + 3 * n},{20 + (7 * n) % 11}.5" for n in range(15))

XML = (
    '<?xml version="1.0" encoding="utf-8"?>\n<annotations><image id="0" name="a/0.jpg" '
    f'width="60" height="40"><points label="face" group_id="1" points="{POINTS}"/></image>'
    f'<image id="1" name="1.jpg" subset="t"><skeleton label="s"><points points="{POINTS}"/>'
    "</skeleton></image></annotations>"
).encode()

TABLE = b"image_name,point_1_x,point_1_y,point_2_x,point_2_y\na.jpg,1.5,2,3,4\nb.jpg,1,2,-1,-1\n"


@pytest.fixture(scope="module")
def pictures() -> dict[str, bytes]:
    """A small photo with an EXIF orientation in each format."""
    pixels = np.random.default_rng(0).integers(0, 256, (24, 20, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    found = {}
    for kind in FORMATS:
        stream = io.BytesIO()
        options = {"exif": exif} if kind in ("JPEG", "PNG", "TIFF", "WEBP", "AVIF", "MPO") else {}
        Image.fromarray(pixels).save(stream, kind, **options)
        found[kind] = stream.getvalue()
    return found


@pytest.mark.parametrize("kind", FORMATS)
def test_changed_pictures(pictures: dict[str, bytes], tmp_path: Path, kind: str) -> None:
    budget, path = Budget(0.8), tmp_path / "a.jpg"

    @fuzz(80)
    @given(edits())
    def check(changes: list[tuple[str, float, bytes]]) -> None:
        if budget.is_spent:
            return
        path.write_bytes(mutate(pictures[kind], changes))
        read_sizes(path)
        try:
            photo = load_photo(path)
        except DataError as error:
            assert "\n" not in str(error)
            assert path.name in str(error)
            return
        assert photo.pixels.dtype == np.uint8
        assert photo.pixels.ndim == 3
        assert photo.pixels.shape[2] == 3
        assert 1 <= photo.orientation <= 8

    check()


def test_changed_annotations(tmp_path: Path) -> None:
    budget, path = Budget(3), tmp_path / "annotations.xml"

    @fuzz(300)
    @given(edits())
    def check(changes: list[tuple[str, float, bytes]]) -> None:
        if budget.is_spent:
            return
        path.write_bytes(mutate(XML, changes))
        try:
            annotations = cvat.read_cvat(path)
        except DataError as error:
            assert "\n" not in str(error)
            return
        for photo in annotations.photos:
            assert photo.name
            for face in photo.faces:
                assert face.shape == (15, 2)
                assert np.isfinite(face).all()

    check()


def test_changed_tables(tmp_path: Path) -> None:
    budget, path = Budget(2), tmp_path / "face_keypoints.csv"

    @fuzz(200)
    @given(edits())
    def check(changes: list[tuple[str, float, bytes]]) -> None:
        if budget.is_spent:
            return
        path.write_bytes(mutate(TABLE, changes))
        try:
            table = point_table.read_table(path)
        except DataError as error:
            assert "\n" not in str(error)
            return
        assert table.points.shape == (len(table.image_names), len(table.point_names), 2)
        assert not np.isinf(table.points).any()

    check()


def test_any_photo_name_stays_in_the_folder(tmp_path: Path) -> None:
    budget, inside = Budget(2), tmp_path / "photos"
    (inside / "a").mkdir(parents=True)
    for name in ("0.jpg", "a/0.jpg", "a/Ä.png"):
        (inside / name).write_bytes(b"")
    (tmp_path / "0.jpg").write_bytes(b"")
    folder = scan_folder(inside)
    parts = st.sampled_from(
        ["..", ".", "/", "\\", "a", "0.jpg", "C:", "~", "\0", "photos", "Ä.png"]
    )
    names = st.lists(parts, max_size=5).map("/".join) | st.text(max_size=10)

    @fuzz(300)
    @given(st.lists(names, min_size=1, max_size=4))
    def check(wanted: list[str]) -> None:
        if budget.is_spent:
            return
        found = find_photos(folder, [PhotoName(name) for name in wanted], lambda path: ())
        by_path: dict[Path, set[str]] = {}
        for name, path in zip(wanted, found, strict=True):
            if isinstance(path, Path):
                assert path in folder.photos
                by_path.setdefault(path, set()).add(name)
        assert all(len(same) == 1 for same in by_path.values())

    check()
