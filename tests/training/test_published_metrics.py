"""Published metrics are computed on the faces that the publication used."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import make_faces

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
