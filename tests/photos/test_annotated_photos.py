"""Tests of mapping annotated points to photos that were resized, turned or renamed since."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fkd_kaggle.errors import DataError
from fkd_kaggle.photos import annotated_photos
from fkd_kaggle.photos.annotated_photos import match_files, place_faces
from fkd_kaggle.photos.annotations.types import AnnotatedPhoto
from fkd_kaggle.photos.images import load_photo
from fkd_kaggle.photos.mean_face import MeanFace
from fkd_kaggle.photos.photo_folder import scan_folder
from fkd_kaggle.practice import synthetic_faces

STORE: dict[int, Callable[[Image.Image], Image.Image]] = {
    1: lambda image: image,
    2: lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    3: lambda image: image.transpose(Image.Transpose.ROTATE_180),
    4: lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    5: lambda image: image.transpose(Image.Transpose.TRANSPOSE),
    6: lambda image: image.transpose(Image.Transpose.ROTATE_90),
    7: lambda image: image.transpose(Image.Transpose.TRANSVERSE),
    8: lambda image: image.transpose(Image.Transpose.ROTATE_270),
}
"""What turns an upright photo into the stored one, by EXIF orientation."""


def make_photo(width: int, height: int) -> tuple[Image.Image, np.ndarray]:
    """Return a photo with a synthetic face beside its centre, and the face's points."""
    faces, points = synthetic_faces.draw_faces(1, seed=4)
    pixels = np.full((height, width), 90, np.uint8)
    pixels[8:104, 12:108] = faces[0]
    return Image.fromarray(pixels).convert("RGB"), points[0].astype(np.float64) + np.array([12, 8])


def marked(points: np.ndarray, width: int, height: int) -> Image.Image:
    """Return a black image with white pixels at points."""
    pixels = np.zeros((height, width), np.uint8)
    for x, y in np.rint(points).astype(int):
        pixels[y, x] = 255
    return Image.fromarray(pixels)


def save(path: Path, image: Image.Image, orientation: int = 1) -> Path:
    """Write a photo with an EXIF orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(path, exif=exif)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("orientation", [1, 3, 4, 5, 6, 7, 8])
@pytest.mark.parametrize("frame", ["upright", "stored"])
@pytest.mark.parametrize(("width", "height"), [(150, 130), (130, 130)])
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_points_are_found_in_every_orientation(
    tmp_path: Path,
    mean_face: MeanFace,
    orientation: int,
    frame: str,
    width: int,
    height: int,
    suffix: str,
) -> None:
    image, points = make_photo(width, height)
    store = STORE[orientation]
    path = save(tmp_path / f"a.{suffix}", store(image), orientation)
    annotated = points
    size = (width, height)
    if frame == "stored":
        # The stored positions, from the stored picture of each point.
        annotated = np.array(
            [
                np.argwhere(np.asarray(store(marked(point[None], width, height))))[0][::-1]
                for point in points
            ],
            np.float64,
        )
        size = store(image).size
    photo = load_photo(path)
    assert photo.pixels.shape == (height, width, 3)
    placed = place_faces(AnnotatedPhoto("a", size, (annotated,)), photo, mean_face)
    assert np.abs(placed.faces[0] - points).max() < 0.51
    assert bool(placed.adjustment) == (frame == "stored" and orientation != 1)


@pytest.mark.slow
def test_a_mirrored_photo_is_told_by_its_face(
    tmp_path: Path, portrait: Path, mean_face: MeanFace
) -> None:
    face = Image.open(portrait).convert("RGB").resize((200, 240))
    image = Image.new("RGB", (2 * face.width, face.height), "grey")
    image.paste(face)
    path = save(tmp_path / "a.jpg", STORE[2](image), 2)
    points = mean_face.points + np.array([face.width * 0.45, face.height * 0.2])
    mirrored = points * (-1, 1) + np.array([image.width - 1, 0])
    for annotated in (points, mirrored):
        entry = AnnotatedPhoto("a", image.size, (annotated,))
        placed = place_faces(entry, load_photo(path), mean_face)
        np.testing.assert_allclose(placed.faces[0], points, atol=1e-6)


@pytest.mark.parametrize("factor", [0.37, 0.5, 2, 3.3])
def test_points_of_a_resized_photo_are_scaled(
    tmp_path: Path, mean_face: MeanFace, factor: float
) -> None:
    image, points = make_photo(185, 199)
    size = (round(185 * factor), round(199 * factor))
    path = save(tmp_path / "a.png", image.resize(size))
    placed = place_faces(AnnotatedPhoto("a", (185, 199), (points,)), load_photo(path), mean_face)
    expected = (points + 0.5) * (np.array(size) / (185, 199)) - 0.5
    np.testing.assert_allclose(placed.faces[0], expected)
    assert placed.adjustment == f"scaled from 185×199 to {size[0]}×{size[1]}"


def test_a_photo_of_another_shape_is_refused(tmp_path: Path, mean_face: MeanFace) -> None:
    image, points = make_photo(185, 199)
    path = save(tmp_path / "a.png", image)
    with pytest.raises(DataError, match="annotated at 213×220, but the photo here is 185×199"):
        place_faces(AnnotatedPhoto("a", (213, 220), (points,)), load_photo(path), mean_face)


@pytest.mark.parametrize("size", [(200, 180), (440, 396), (110, 102), (220, 198)])
def test_a_cropped_photo_is_no_resized_one(
    tmp_path: Path, mean_face: MeanFace, size: tuple[int, int]
) -> None:
    image, points = make_photo(220, 200)
    path = save(tmp_path / "a.png", image.resize(size))
    with pytest.raises(DataError, match="another photo, or cropped"):
        place_faces(AnnotatedPhoto("a", (220, 200), (points,)), load_photo(path), mean_face)


@pytest.mark.parametrize("scale", [0.03, 0.13, 0.29, 0.77, 1.9, 7.31])
@pytest.mark.parametrize("to_whole", [round, math.floor, math.ceil])
@pytest.mark.parametrize("size", [(640, 480), (1013, 331), (97, 1201)])
def test_sides_of_whole_pixels_are_the_same_shape(
    scale: float, to_whole: Callable[[float], int], size: tuple[int, int]
) -> None:
    scaled = (to_whole(size[0] * scale), to_whole(size[1] * scale))
    assert annotated_photos._same_shape(size, scaled)
    assert annotated_photos._same_shape(scaled, size)


def test_a_photo_that_is_annotated_twice_is_used_once(tmp_path: Path) -> None:
    image, points = make_photo(150, 130)
    save(tmp_path / "a.png", image)
    folder = scan_folder(tmp_path)
    entry = AnnotatedPhoto("a.png", (150, 130), (points,))
    again = AnnotatedPhoto("a.png", (150, 130), (points + 1,))
    elsewhere = AnnotatedPhoto("a.png", (150, 130), (points + 60,))
    other_size = AnnotatedPhoto("a.png", (640, 480), (points,))
    first, second = match_files(folder, [entry, again])
    assert (first, second) == (tmp_path / "a.png", "is annotated twice: the first time is used")
    unclear = match_files(folder, [entry, elsewhere])
    assert all("with different faces" in str(reason) for reason in unclear)
    skipped, kept = match_files(folder, [other_size, entry])
    assert kept == tmp_path / "a.png"
    assert "the other time at the photo's size 150×130" in str(skipped)


def test_a_wrong_exif_orientation_is_told_by_the_face(tmp_path: Path, mean_face: MeanFace) -> None:
    image, points = make_photo(150, 130)
    path = save(tmp_path / "a.png", image, 6)  # stored upright
    entry = AnnotatedPhoto("a", (150, 130), (points,))
    placed = place_faces(entry, load_photo(path), mean_face)
    np.testing.assert_array_equal(placed.pixels, np.asarray(image))
    np.testing.assert_allclose(placed.faces[0], points)
    assert "EXIF orientation is wrong" in placed.adjustment


@pytest.mark.parametrize("orientation", range(1, 9))
def test_stored_pixels_are_those_of_the_file(tmp_path: Path, orientation: int) -> None:
    image, _ = make_photo(150, 130)
    stored = STORE[orientation](image)
    path = save(tmp_path / "a.png", stored, orientation)
    np.testing.assert_array_equal(load_photo(path).stored_pixels(), np.asarray(stored))


def test_an_entry_with_faces_outside_does_not_hide_another_entry(tmp_path: Path) -> None:
    image, points = make_photo(150, 130)
    path = save(tmp_path / "a.png", image)
    entries = [AnnotatedPhoto("a.png", None, (points + shift,)) for shift in (0, 900)]
    assert match_files(scan_folder(tmp_path), entries) == [path, path]
