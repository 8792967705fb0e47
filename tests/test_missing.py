"""Missing labels: five strategies, each learning from the faces it is given and no others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conftest import make_faces

from fkd_kaggle.data import imputation
from fkd_kaggle.data.faces import Faces
from fkd_kaggle.errors import DataError
from fkd_kaggle.keypoints import NUM_KEYPOINTS, PARTIAL_KEYPOINTS, REGIONS
from fkd_kaggle.recipes.schema import MISSING, Recipe

SHARED = Recipe("shared", source_outputs="shared")

OTHERS = [point for point in range(NUM_KEYPOINTS) if point not in PARTIAL_KEYPOINTS]


@pytest.fixture
def faces() -> Faces:
    """Twelve faces, every second one with four points, the fifth without its nose tip."""
    made = make_faces(12, seed=5)
    made.keypoints[4, 10] = np.nan
    return made


def settled(faces: Faces, strategy: str, **changes: object) -> Faces:
    return imputation.impute_labels(faces, replace(SHARED, missing=strategy, **changes))  # type: ignore[arg-type]


def test_every_strategy_that_a_recipe_may_name_is_there() -> None:
    assert set(MISSING) == {"mask", "drop", *imputation.STRATEGIES}


@pytest.mark.parametrize("strategy", MISSING)
def test_no_strategy_touches_a_label(faces: Faces, strategy: str) -> None:
    before = faces.keypoints.copy()
    after = settled(faces, strategy)
    np.testing.assert_array_equal(faces.keypoints, before)  # nor the faces it was given
    kept = before[after.ids - 1]
    known = np.isfinite(kept)
    np.testing.assert_array_equal(after.keypoints[known], kept[known])


def test_mask_leaves_the_gaps_to_the_loss(faces: Faces) -> None:
    assert settled(faces, "mask") is faces


def test_ffill_takes_the_face_above(faces: Faces) -> None:
    after = settled(faces, "ffill")
    np.testing.assert_array_equal(after.keypoints[1, OTHERS], faces.keypoints[0, OTHERS])
    np.testing.assert_array_equal(after.keypoints[4, 10], faces.keypoints[3, 10])
    late = settled(faces.take(np.arange(1, 12)), "ffill")
    assert np.isnan(late.keypoints[0, OTHERS]).all()  # nothing stands above the first


def test_mean_takes_the_training_faces_mean(faces: Faces) -> None:
    after = settled(faces, "mean")
    expected = np.nanmean(faces.keypoints[:, OTHERS], axis=0)
    np.testing.assert_allclose(after.keypoints[3, OTHERS], expected, rtol=1e-5)


def test_knn_takes_faces_that_lie_alike() -> None:
    faces = make_faces(40, seed=6)
    moved = np.where(np.arange(40) % 4 < 2, -15.0, 15.0).astype(np.float32)
    faces.keypoints[...] += moved[:, None, None]
    after = settled(faces, "knn")
    found = (
        after.keypoints[1::2, OTHERS].mean((1, 2))
        - np.linspace(20, 76, NUM_KEYPOINTS)[OTHERS].mean()
    )
    np.testing.assert_allclose(found, moved[1::2], atol=3)


def test_drop_keeps_complete_faces_of_the_region_only(faces: Faces) -> None:
    assert settled(faces, "drop").ids.tolist() == [1, 3, 7, 9, 11]
    mouth = settled(faces, "drop", region="mouth-eyebrows")
    assert mouth.ids.tolist() == [1, 3, 5, 7, 9, 11]  # its points do not include the nose


def test_drop_says_when_nothing_is_left(faces: Faces) -> None:
    with pytest.raises(DataError, match="completely labelled faces only"):
        settled(faces.take(np.arange(1, 12, 2)), "drop")


@pytest.mark.parametrize("strategy", sorted(imputation.STRATEGIES))
def test_separate_outputs_keep_the_annotators_habits_apart(faces: Faces, strategy: str) -> None:
    after = settled(faces, strategy, source_outputs="separate")
    assert np.isfinite(after.keypoints[0::2]).all()  # the nose tip is filled
    assert np.isnan(after.keypoints[1::2][:, OTHERS]).all()  # theirs, nobody asks for
    np.testing.assert_array_equal(after.annotators, faces.annotators)


def test_a_point_nobody_labelled_stays_unknown(faces: Faces) -> None:
    faces.keypoints[:, REGIONS["eyes-nose"][2]] = np.nan
    for strategy in imputation.STRATEGIES:
        after = settled(faces, strategy)
        assert np.isnan(after.keypoints[:, REGIONS["eyes-nose"][2]]).all()
