"""Heatmaps: soft-argmax, and the loss on the maps."""

from __future__ import annotations

import numpy as np
import pytest

from fkd_kaggle.nn import heatmaps
from fkd_kaggle.nn.heatmaps import SoftArgmax

pytestmark = pytest.mark.slow


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_soft_argmax_is_stable_for_large_logits() -> None:
    maps = 3 * noise(2, 24, 24, 4)
    points = SoftArgmax()(maps)
    np.testing.assert_allclose(SoftArgmax()(maps + 1e4), points, atol=0.05)
    share = np.exp(maps.astype(float))
    share /= share.sum((1, 2), keepdims=True)
    x = (share.sum(1) * (np.arange(24) * 4 + 1.5)[:, None]).sum(1)
    np.testing.assert_allclose(points[..., 0], x, atol=1e-3)


def test_a_peak_at_the_label_lowers_the_loss() -> None:
    labels = np.array([[[40.0, 20.0]]], "float32")
    flat = np.zeros((1, 24, 24, 1), "float32")
    right, wrong = flat.copy(), flat.copy()
    right[0, 5, 10, 0] = wrong[0, 10, 5, 0] = 5.0
    values = [float(heatmaps.heatmap_loss(labels, maps)) for maps in (right, flat, wrong)]
    assert values[0] < values[1] < values[2]
    assert float(heatmaps.heatmap_loss(np.full_like(labels, np.nan), right)) == 0.0


def test_the_loss_is_the_cross_entropy_with_a_gaussian() -> None:
    rng = np.random.default_rng(0)
    labels = rng.uniform(10, 86, (3, 2, 2)).astype("float32")
    labels[1, 0] = np.nan
    maps = rng.normal(50, 4, (3, 24, 24, 2)).astype("float32")
    centres = np.arange(24) * 4 + 1.5
    entropies = []
    for face, point in np.argwhere(np.isfinite(labels[..., 0])):
        x, y = labels[face, point].astype(float)
        wanted = np.exp(-((centres - x) ** 2 + (centres[:, None] - y) ** 2) / (2 * 4.0**2))
        logits = maps[face, :, :, point].astype(float)
        shares = logits - np.log(np.exp(logits).sum())
        entropies.append(-(wanted / wanted.sum() * shares).sum())
    assert float(heatmaps.heatmap_loss(labels, maps)) == pytest.approx(np.mean(entropies), rel=1e-5)
