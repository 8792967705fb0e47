"""Bootstrap intervals of errors."""

from __future__ import annotations

import numpy as np
import pytest

from fkd_kaggle.report import bootstrap
from fkd_kaggle.report.bootstrap import GroupErrors


def errors_of(size: float, count: int = 400, copies: int = 1, seed: int = 0) -> GroupErrors:
    """Return errors of normal noise; each error occurs ``copies`` times, in one group."""
    random = np.random.default_rng(seed)
    squares = np.repeat(np.square(random.normal(0, size, (count, 15, 2))), copies, 0)
    annotators = np.repeat(np.arange(count) % 2, copies).astype(np.uint8)
    return GroupErrors.of(squares, annotators, np.repeat(np.arange(count), copies))


def test_an_interval_contains_the_true_error() -> None:
    complete, partial, difference = bootstrap.intervals(errors_of(2.0), bootstrap.rmse_by_annotator)
    for interval in (complete, partial):
        assert interval.low - 0.03 < 2.0 < interval.high + 0.03
        assert interval.low < interval.value < interval.high
        assert interval.high - interval.low < 0.2
    assert difference.low < difference.value < difference.high


def test_copies_of_faces_do_not_narrow_an_interval() -> None:
    single = bootstrap.intervals(errors_of(2.0), bootstrap.rmse_by_annotator)[0]
    copied = bootstrap.intervals(errors_of(2.0, copies=5), bootstrap.rmse_by_annotator)[0]
    assert copied.value == pytest.approx(single.value)
    assert copied.high - copied.low == pytest.approx(single.high - single.low, rel=1e-6)


def test_pairs_show_a_difference_that_single_intervals_hide() -> None:
    one, other = errors_of(2.0), errors_of(2.0)
    other.sums[:] *= 1.02**2
    apart = [bootstrap.intervals(errors, bootstrap.rmse_by_annotator)[0] for errors in (one, other)]
    paired = bootstrap.paired_intervals(one, other, bootstrap.rmse_by_annotator)[0]
    assert apart[0].high > apart[1].low
    assert paired.high < 0
    assert paired.value == pytest.approx(-0.04, abs=0.01)


def test_the_combined_error_is_that_of_the_metrics_module() -> None:
    from fkd_kaggle.data import metrics

    random = np.random.default_rng(1)
    labels = random.normal(48, 5, (60, 15, 2))
    labels[::3, 4] = np.nan
    predictions = labels + random.normal(0, 2, labels.shape)
    annotators = (np.arange(60) % 2).astype(np.uint8)
    queries = random.integers(0, 50, (2, 15)).astype(float)
    squares = GroupErrors.of(np.square(predictions - labels), annotators, np.arange(60))
    (found,) = bootstrap.intervals(squares, bootstrap.combined_rmse(queries))
    expected = metrics.combined_rmse(predictions, labels, annotators, queries)
    assert found.value == pytest.approx(expected)


def test_no_faces_have_no_interval() -> None:
    none = GroupErrors.of(np.empty((0, 15, 2)), np.empty(0, np.uint8), np.empty(0, np.int64))
    found = bootstrap.intervals(none, bootstrap.rmse_by_annotator)
    found += bootstrap.paired_intervals(none, none, bootstrap.rmse_by_keypoint)
    assert np.isnan([(one.value, one.low, one.high) for one in found]).all()


def test_unknown_keypoints_have_no_interval() -> None:
    squares = np.full((10, 15, 2), np.nan)
    squares[:, 0] = 1.0
    errors = GroupErrors.of(squares, np.zeros(10, np.uint8), np.arange(10))
    found = bootstrap.intervals(errors, bootstrap.rmse_by_keypoint)
    assert found[0].value == pytest.approx(1.0)
    assert np.isnan(found[1].value)
