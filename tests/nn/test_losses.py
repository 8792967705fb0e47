"""Losses on coordinates: only labelled coordinates count."""

from __future__ import annotations

import numpy as np
import pytest

from fkd_kaggle.nn import losses

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("loss", losses.LOSSES)
def test_unlabelled_points_do_not_count(loss: str) -> None:
    function = losses.masked_loss(loss, 1.0, "auto")
    labels = np.full((2, 3, 2), 40.0, "float32")
    points = labels + 2.0
    whole = float(function(labels, points))
    assert whole > 0
    labels[1, 2] = np.nan
    points[1, 2] = 1e6
    assert float(function(labels, points)) == pytest.approx(whole, rel=1e-5)
    labels[:] = np.nan
    assert float(function(labels, points)) == 0.0


def test_a_label_of_zero_counts() -> None:
    """A point in the corner of the image is labelled; only NaN is not."""
    function = losses.masked_loss("mae", 1.0, "auto")
    assert (
        float(function(np.zeros((1, 1, 2), "float32"), np.full((1, 1, 2), 3.0, "float32"))) == 3.0
    )
