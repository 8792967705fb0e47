"""Tests of the One-Euro filter."""

from __future__ import annotations

import numpy as np

from fkd_kaggle.photos.one_euro import OneEuroFilter


def filtered(values: np.ndarray, times: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """Return (N,) values after the filter."""
    one_euro = OneEuroFilter()
    pairs = zip(values, times, strict=True)
    return np.array([one_euro(np.array(value), time, scale) for value, time in pairs])


def test_points_at_rest_lose_their_jitter() -> None:
    noise = np.random.default_rng(0).normal(0, 0.5, 200)
    smooth = filtered(noise, np.arange(200) / 30, scale=30)
    assert smooth[30:].std() < 0.5 * noise.std()


def test_fast_points_are_followed_without_much_lag() -> None:
    times = np.arange(60) / 30
    path = 200 * times  # seven pixels per frame
    assert np.abs(filtered(path, times, scale=30)[20:] - path[20:]).max() < 8


def test_the_result_does_not_depend_on_the_resolution() -> None:
    times = np.arange(50) / 25
    path = np.sin(times)
    np.testing.assert_allclose(
        filtered(4 * path, times, scale=4), 4 * filtered(path, times, scale=1)
    )


def test_the_filter_starts_again_when_time_goes_back() -> None:
    one_euro = OneEuroFilter()
    one_euro(np.array(0.0), 1.0)
    assert one_euro(np.array(5.0), 0.5) == 5.0
