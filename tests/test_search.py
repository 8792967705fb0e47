"""Looking again: a lost face is found through windows, and nothing else is touched."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from fkd_kaggle.training import crop_search, forward, network

ORDER = [1, 0, 2]
"""Left eye, right eye, mouth: which output answers for which in a mirrored face."""

EYE, MOUTH = 0.6, 0.9
"""How far from the disc's centre they are, in radii."""


@pytest.fixture(autouse=True)
def float32() -> None:
    keras.config.set_dtype_policy("float32")


class Spotter(keras.layers.Layer):
    """Finds the points of a bright disc, if it is as large as faces usually are.

    Of anything else it says what no mirror image could agree with.
    """

    def call(self, images: Any) -> Any:
        bright = images[..., 0]
        area = ops.sum(bright, (1, 2))
        place = ops.arange(96, dtype="float32")
        x = ops.sum(ops.sum(bright, 1) * place, 1) / ops.maximum(area, 1.0)
        y = ops.sum(ops.sum(bright, 2) * place, 1) / ops.maximum(area, 1.0)
        radius = ops.sqrt(area / np.pi)
        eye = ops.stack([x + EYE * radius, y], -1)
        other = ops.stack([x - EYE * radius, y], -1)
        mouth = ops.stack([x, y + MOUTH * radius], -1)
        seen = ops.logical_and(radius > 24, radius < 36)[:, None, None]
        lost = ops.convert_to_tensor([[[20.0, 10.0], [8.0, 10.0], [14.0, 22.0]]])
        return ops.where(seen, ops.stack([eye, other, mouth], 1), lost)

    def compute_output_shape(self, shape: Any) -> tuple[Any, ...]:
        return (shape[0], 3, 2)


@pytest.fixture(name="spotter")
def a_spotter() -> keras.Model:
    image = keras.Input((96, 96, 1))
    return keras.Model(image, Spotter()(image))


def disc(x: float, y: float, radius: float) -> np.ndarray:
    """Return a (96, 96) uint8 picture of a disc with a soft edge."""
    across, down = np.meshgrid(np.arange(96), np.arange(96))
    inside = radius - np.hypot(across - x, down - y) + 0.5
    return np.rint(255 * np.clip(inside, 0, 1)).astype(np.uint8)


def points(x: float, y: float, radius: float) -> np.ndarray:
    return np.array(
        [[x + EYE * radius, y], [x - EYE * radius, y], [x, y + MOUTH * radius]], np.float32
    )


def test_a_face_in_its_usual_size_is_sure_of_itself(spotter: keras.Model) -> None:
    answers, doubts = forward.predict_with_flip_disagreement(spotter, disc(45, 50, 30)[None], ORDER)
    np.testing.assert_allclose(answers[0], points(45, 50, 30), atol=0.2)
    assert doubts[0] < 0.1


@pytest.mark.parametrize("face", [(30, 30, 14), (66, 60, 16), (45, 48, 20)])
def test_a_small_face_is_found_through_windows(
    spotter: keras.Model, face: tuple[float, float, float]
) -> None:
    images = np.stack([disc(*face), disc(45, 50, 30)])
    once, doubts = forward.predict_with_flip_disagreement(spotter, images, ORDER)
    assert np.abs(once[0] - points(*face)).max() > 10
    assert doubts[0] > 10 * crop_search.DOUBTFUL
    found = crop_search.predict_with_crop_search(spotter, images, ORDER)
    # Not to the last tenth: a window's edge may cut a piece of the disc off.
    np.testing.assert_allclose(found[0], points(*face), atol=1.0)
    np.testing.assert_array_equal(found[1], once[1])


def test_where_windows_find_nothing_the_answer_stays(spotter: keras.Model) -> None:
    nothing = np.zeros((1, 96, 96), np.uint8)
    assert np.isnan(crop_search.search_crops(spotter, nothing, ORDER)).all()
    np.testing.assert_array_equal(
        crop_search.predict_with_crop_search(spotter, nothing, ORDER),
        forward.predict_points(spotter, nothing, ORDER),
    )


def test_one_window_alone_is_not_believed(
    spotter: keras.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = disc(30, 30, 14)[None]
    # Half of the picture, from its corner: shows the disc in its usual size.
    looks = np.array([[[0.5, 0, 0], [0, 0.5, 0]]], np.float32)
    monkeypatch.setattr(crop_search, "crop_windows", lambda: looks)
    assert np.isnan(crop_search.search_crops(spotter, small, ORDER)).all()
    monkeypatch.setattr(crop_search, "crop_windows", lambda: np.concatenate([looks, looks + 1e-3]))
    np.testing.assert_allclose(
        crop_search.search_crops(spotter, small, ORDER)[0], points(30, 30, 14), atol=0.5
    )


def test_two_windows_that_contradict_each_other_are_not_believed(
    spotter: keras.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = np.maximum(disc(22, 22, 14), disc(72, 72, 14))[None]
    corners = [[[0.5, 0, start], [0, 0.5, start]] for start in (0.0, 47.5)]
    monkeypatch.setattr(crop_search, "crop_windows", lambda: np.array(corners, np.float32))
    assert np.isnan(crop_search.search_crops(spotter, two, ORDER)).all()


def test_only_the_most_doubtful_are_looked_at_again(spotter: keras.Model) -> None:
    images = np.stack([disc(30, 30, 14)] * 100)
    found = crop_search.predict_with_crop_search(spotter, images, ORDER)
    right = np.abs(found - points(30, 30, 14)).max((1, 2)) < 0.5
    assert right.sum() == 100 * crop_search.MOST


def test_who_is_not_asked_about_mirror_images_does_not_look_again(spotter: keras.Model) -> None:
    small = disc(30, 30, 14)[None]
    np.testing.assert_array_equal(
        crop_search.predict_with_crop_search(spotter, small, None),
        forward.predict_points(spotter, small, None),
    )


def test_labels_lie_as_far_aside_in_a_small_face(spotter: keras.Model) -> None:
    layer = network.LabelOffset(name="label_offset")
    shifted = keras.Model(spotter.input, layer(spotter.output))
    layer.kernel.assign(np.full((3, 2), 2.0 / layer.unit, np.float32))
    small = disc(30, 30, 14)[None]
    found = crop_search.search_crops(shifted, small, ORDER)
    np.testing.assert_allclose(found[0], points(30, 30, 14) + 2.0, atol=0.5)


def test_windows_stay_inside_the_picture() -> None:
    looks = crop_search.crop_windows()
    for corner in (0.0, 95.0):
        seen = looks @ np.array([corner, corner, 1.0])
        assert seen.min() >= -1e-4
        assert seen.max() <= 95 + 1e-4
    assert len(np.unique(looks.reshape(len(looks), -1), axis=0)) == len(looks)
