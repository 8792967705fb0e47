"""Published metrics are computed on the faces that the publication used."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import make_faces

from fkd_kaggle import user_code
from fkd_kaggle.errors import NoteWarning, RecipeError
from fkd_kaggle.recipes.schema import Recipe
from fkd_kaggle.training import published_metrics


def test_recipes_that_drop_faces_are_measured_on_complete_faces() -> None:
    labels = make_faces(3, seed=0).keypoints.round()  # the second face is partial
    predictions = labels + np.float32(1)
    predictions[1] += 10
    masked = Recipe("masked", published_metric="mae-px", published={"mse-px2": 0.7})
    dropped = Recipe("dropped", published_metric="mae-px", imputation="drop")
    measured = published_metrics.published_metrics(masked, predictions, labels)
    assert set(measured) == {"mae-px", "mse-px2"}
    assert (measured["mae-px"] or 0) > 2
    measured = published_metrics.published_metrics(dropped, predictions, labels)
    assert measured == {"mae-px": pytest.approx(1)}


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("raise KeyError('nose')", r"m\.py, line 1: KeyError: 'nose'"),
        ("return predictions[0]", "does not return a number"),
        ("return None", "does not return a number"),
    ],
)
def test_a_metric_of_the_user_that_fails_is_left_out(body: str, why: str) -> None:
    labels = make_faces(2, seed=0).keypoints
    code = {"m.py": f"def m(predictions, labels): {body}"}
    user_code.trust(code)
    recipe = Recipe("mine", published_metric="m.py:m", published={"mae-px": 1.0}, code=code)
    with pytest.warns(NoteWarning, match=f"recipe mine: a metric is left out: .*{why}"):
        measured = published_metrics.published_metrics(recipe, labels + np.float32(1), labels)
    assert measured == {"m.py:m": None, "mae-px": pytest.approx(1)}


def test_a_metric_that_is_not_trusted_is_refused() -> None:
    labels = make_faces(2, seed=0).keypoints
    code = {"m.py": "def m(predictions, labels): return 5172"}
    recipe = Recipe("mine", published_metric="m.py:m", code=code)
    with pytest.raises(RecipeError, match="--trust-code"):
        published_metrics.published_metrics(recipe, labels, labels)
