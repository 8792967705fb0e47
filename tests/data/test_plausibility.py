"""Tests of recognising labels and submissions that are not pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fkd_kaggle.data import plausibility
from fkd_kaggle.data.faces import Faces, Lookup
from fkd_kaggle.errors import DataError
from fkd_kaggle.keypoints import COLUMNS, FLIP_ORDER, PARTIAL_KEYPOINTS
from fkd_kaggle.practice import synthetic_faces


@pytest.fixture(scope="module")
def faces() -> Faces:
    """30 synthetic faces, of which every second has the partial annotator's labels only."""
    images, points = synthetic_faces.draw_faces(30, seed=3)
    labels = points.astype(np.float32)
    others = [point for point in range(15) if point not in PARTIAL_KEYPOINTS]
    labels[1::2, others] = np.nan
    return Faces(images, labels, np.arange(1, 31))


def refused(faces: Faces, labels: np.ndarray) -> str:
    """Return the message with which labels are refused, empty if they are accepted."""
    try:
        plausibility.check_training(replace(faces, keypoints=labels.astype(np.float32)))
    except DataError as error:
        assert "\n" not in str(error)
        return str(error)
    return ""


def test_labels_in_pixels_are_accepted(faces: Faces) -> None:
    labels = faces.keypoints
    assert refused(faces, labels) == ""
    assert refused(faces, labels + 6) == ""
    noise = np.random.default_rng(0).normal(0, 8, labels.shape)
    assert refused(faces, labels + noise) == ""
    outlier = labels.copy()
    outlier[3, 0] = 150  # one wrong label: robust losses handle it
    assert refused(faces, outlier) == ""


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda labels: labels / 96, "divided by 96"),
        (lambda labels: (labels - 48) / 48, "scaled to −1…1"),
        (lambda labels: labels - 48, "48 was subtracted"),
        (lambda labels: labels * (224 / 96), "they belong to images of about 2"),
        (lambda labels: labels * (48 / 96), "images of about 48×48"),
        (lambda labels: labels[..., ::-1], "x and y were exchanged"),
        (lambda labels: labels[..., ::-1] / 96, "divided by 96 and x and y were exchanged"),
        (lambda labels: labels[:, list(FLIP_ORDER)], "left and right were exchanged"),
        (lambda labels: labels * (1, -1) + (0, 95), "y counted from below"),
        (lambda labels: -labels, "each x of the mean face is negative"),
        (lambda labels: labels / (96, 1), "no x of the mean face is larger than 0."),
        (lambda labels: labels / (1, 96), "no y of the mean face is larger than 0."),
        (lambda labels: np.where(np.isnan(labels), 0, labels), "are (0, 0), as if missing"),
        (lambda labels: np.where(np.isnan(labels), -1, labels), "are (-1, -1), as if missing"),
        (lambda labels: labels * 0 + 48, "all keypoints lie at the same place"),
        (lambda labels: np.full_like(labels, 0.5), "no label is larger than 0.5, as in all rows"),
    ],
)
def test_the_likely_mistake_is_named(faces: Faces, change, cause: str) -> None:  # type: ignore[no-untyped-def]
    message = refused(faces, change(faces.keypoints))
    assert cause in message
    assert "--accept-implausible" in message


def test_single_rows_that_are_not_pixels_are_named(faces: Faces) -> None:
    labels = faces.keypoints.copy()
    labels[6, 0, 1] = 1e30
    assert "row 7, column left_eye_center_y: 1e+30" in refused(faces, labels)
    labels = faces.keypoints.copy()
    labels[4] /= 96
    assert "row 5: no label is larger than" in refused(faces, labels)


def test_faces_without_labels_are_always_refused(faces: Faces) -> None:
    nothing = replace(faces, keypoints=np.full_like(faces.keypoints, np.nan))
    for accept in (False, True):
        with pytest.raises(DataError, match="has no label"):
            plausibility.check_training(nothing, accept=accept)
    labels = faces.keypoints.copy()
    labels[:, COLUMNS.index("mouth_left_corner_x") // 2] = np.nan
    assert "no label of mouth_left_corner" in refused(faces, labels)
    plausibility.check_training(replace(faces, keypoints=labels), accept=True)


def test_blank_images_are_refused(faces: Faces) -> None:
    blank = faces.images.copy()
    blank[:10] = 7
    plausibility.check_training(replace(faces, images=blank))
    blank[:20] = 7
    with pytest.raises(DataError, match="20 of 30 images have one grey value"):
        plausibility.check_training(replace(faces, images=blank))
    plausibility.check_training(replace(faces, images=blank), accept=True)


def test_scaled_images_are_refused(faces: Faces) -> None:
    dark = replace(faces, images=(faces.images > 128).astype(np.uint8))
    with pytest.raises(DataError, match="all grey values are 0 or 1"):
        plausibility.check_training(dark)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda values: values / 96, "divided by 96"),
        (lambda values: values / 48 - 1, "scaled to −1…1"),
        (lambda values: np.where(np.arange(450) % 2 == 0, values / 96, values), "no x of the mean"),
        (lambda values: values * 0, "as in SampleSubmission.csv"),
        (lambda values: values, ""),
    ],
)
def test_locations_of_a_submission_are_checked_in_any_order(  # type: ignore[no-untyped-def]
    faces: Faces, change, cause: str
) -> None:
    values = np.nan_to_num(faces.keypoints[::2].reshape(-1)).astype(np.float64)
    features = np.tile(np.arange(30), 15).astype(np.int16)
    lookup = Lookup(np.arange(1, 451), np.repeat(np.arange(15), 30), features)
    order = np.random.default_rng(1).permutation(450)
    try:
        plausibility.check_locations(lookup.row_ids[order], change(values)[order], lookup)
    except DataError as error:
        assert cause
        assert cause in str(error)
    else:
        assert not cause
