"""Imputation: five strategies, fitted to the faces they are given."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import make_faces

from fkd_kaggle.data import imputation
from fkd_kaggle.data.faces import Faces
from fkd_kaggle.errors import DataError
from fkd_kaggle.keypoints import NUM_KEYPOINTS, PARTIAL_KEYPOINTS, REGIONS

SHARED = (REGIONS["all"],)

SEPARATE = (REGIONS["all"], PARTIAL_KEYPOINTS)

OTHERS = [point for point in range(NUM_KEYPOINTS) if point not in PARTIAL_KEYPOINTS]


@pytest.fixture
def faces() -> Faces:
    """Twelve faces, every second one partial, the fifth without its nose tip."""
    made = make_faces(12, seed=5)
    made.keypoints[4, 10] = np.nan
    return made


def impute(faces: Faces, strategy: str, outputs: tuple[tuple[int, ...], ...] = SHARED) -> Faces:
    return imputation.impute_labels(faces, strategy, outputs)


def test_recipes_can_name_five_strategies() -> None:
    assert set(imputation.IMPUTATIONS) == {"mask", "ffill", "drop", "mean", "knn"}
    assert set(imputation.IMPUTATIONS) == {"mask", "drop", *imputation.STRATEGIES}


@pytest.mark.parametrize("strategy", imputation.IMPUTATIONS)
def test_no_strategy_changes_a_label(faces: Faces, strategy: str) -> None:
    before = faces.keypoints.copy()
    after = impute(faces, strategy)
    np.testing.assert_array_equal(faces.keypoints, before)
    kept = before[after.ids - 1]
    known = np.isfinite(kept)
    np.testing.assert_array_equal(after.keypoints[known], kept[known])


def test_mask_returns_the_same_faces(faces: Faces) -> None:
    assert impute(faces, "mask") is faces


def test_ffill_takes_the_label_of_the_face_above(faces: Faces) -> None:
    after = impute(faces, "ffill")
    np.testing.assert_array_equal(after.keypoints[1, OTHERS], faces.keypoints[0, OTHERS])
    np.testing.assert_array_equal(after.keypoints[4, 10], faces.keypoints[3, 10])
    late = impute(faces.take(np.arange(1, 12)), "ffill")
    assert np.isnan(late.keypoints[0, OTHERS]).all()  # there is no face above the first


def test_mean_takes_the_mean_of_the_faces(faces: Faces) -> None:
    after = impute(faces, "mean")
    expected = np.nanmean(faces.keypoints[:, OTHERS], axis=0)
    np.testing.assert_allclose(after.keypoints[3, OTHERS], expected, rtol=1e-5)


def test_knn_takes_labels_of_similar_faces() -> None:
    faces = make_faces(40, seed=6)
    moved = np.where(np.arange(40) % 4 < 2, -15.0, 15.0).astype(np.float32)
    faces.keypoints[...] += moved[:, None, None]
    after = impute(faces, "knn")
    found = (
        after.keypoints[1::2, OTHERS].mean((1, 2))
        - np.linspace(20, 76, NUM_KEYPOINTS)[OTHERS].mean()
    )
    np.testing.assert_allclose(found, moved[1::2], atol=3)


def test_drop_keeps_complete_faces_of_the_region_only(faces: Faces) -> None:
    assert impute(faces, "drop").ids.tolist() == [1, 3, 7, 9, 11]
    mouth = impute(faces, "drop", (REGIONS["mouth-eyebrows"],))
    assert mouth.ids.tolist() == [1, 3, 5, 7, 9, 11]  # face 5 lacks the nose tip only


def test_drop_without_complete_faces_is_refused(faces: Faces) -> None:
    with pytest.raises(DataError, match="completely labelled faces only"):
        impute(faces.take(np.arange(1, 12, 2)), "drop")


@pytest.mark.parametrize("strategy", sorted(imputation.STRATEGIES))
def test_separate_outputs_keep_the_annotators_apart(faces: Faces, strategy: str) -> None:
    after = impute(faces, strategy, SEPARATE)
    assert np.isfinite(after.keypoints[0::2]).all()  # the nose tip is filled
    assert np.isnan(after.keypoints[1::2][:, OTHERS]).all()  # they have no outputs
    np.testing.assert_array_equal(after.annotators, faces.annotators)


def test_a_point_without_any_label_stays_unknown(faces: Faces) -> None:
    faces.keypoints[:, REGIONS["eyes-nose"][2]] = np.nan
    for strategy in imputation.STRATEGIES:
        after = impute(faces, strategy)
        assert np.isnan(after.keypoints[:, REGIONS["eyes-nose"][2]]).all()
