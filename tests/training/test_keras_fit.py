"""Tests of the parts that all trainings share."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import keras
import pytest

from fkd_kaggle.training.keras_fit import BestWeights

pytestmark = pytest.mark.slow


class FakeNetwork:
    """Writes the number of its calls instead of weights."""

    def __init__(self) -> None:
        self.saves = 0
        self.weights: list[Any] = []

    def save_weights(self, path: Path) -> None:
        self.saves += 1
        path.write_text(str(self.saves))


def best_weights(folder: Path, **options: Any) -> BestWeights:
    """Return a ``BestWeights`` of a fake network."""
    return BestWeights(cast(keras.Model, FakeNetwork()), folder / "best.weights.h5", **options)


def test_weights_are_saved_only_at_a_better_score(tmp_path: Path) -> None:
    weights = best_weights(tmp_path)
    assert [weights.update(score) for score in (3.0, 4.0, None, 2.0, 2.0)] == [
        True,
        False,
        False,
        True,
        False,
    ]
    assert weights.best == 2.0
    assert weights.path.read_text() == "2"


def test_last_weights_are_saved_if_requested(tmp_path: Path) -> None:
    weights = best_weights(tmp_path, keep_last=True)
    assert [weights.update(score) for score in (3.0, 4.0, None)] == [True, True, False]
    assert weights.best == 4.0


def test_patience_counts_epochs_since_the_best_score(tmp_path: Path) -> None:
    weights = best_weights(tmp_path, patience=2)
    exhausted = []
    for score in (3.0, 4.0, 2.0, 2.5, None):
        weights.update(score)
        exhausted.append(weights.is_exhausted)
    assert exhausted == [False, False, False, False, True]


def test_without_patience_training_never_stops_early(tmp_path: Path) -> None:
    weights = best_weights(tmp_path)
    for score in (3.0, *[4.0] * 20):
        weights.update(score)
    assert not weights.is_exhausted
