"""Calibration: whether what is known without labels says how large a face's error is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from scipy.stats import spearmanr

from fkd_kaggle.data.faces import Faces
from fkd_kaggle.data.metrics import face_rmse
from fkd_kaggle.report import bootstrap
from fkd_kaggle.report.bootstrap import GroupErrors

_BINS: Final = 10

_MIN_FACES: Final = 40
"""Faces that a curve needs."""


def member_spread(predictions: Sequence[np.ndarray]) -> np.ndarray:
    """Return the RMS distance of the members' predictions from their mean, for each face.

    Parameters
    ----------
    predictions
        M arrays (N, 15, 2) of out-of-fold pixels; NaN where missing.

    Returns
    -------
    (N,) float64 pixels; NaN where fewer than two members predict.
    """
    stacked = np.stack(predictions).astype(np.float64)
    known = np.isfinite(stacked).sum(0)
    shared = known > 1
    filled = np.where(np.isfinite(stacked), stacked, 0)
    mean = filled.sum(0) / np.maximum(known, 1)
    squares = np.where(np.isfinite(stacked), np.square(stacked - mean), 0).sum(0)
    variance = np.where(shared, squares / np.maximum(known, 1), 0)
    counts = shared.sum((1, 2))
    return np.where(counts > 0, np.sqrt(variance.sum((1, 2)) / np.maximum(counts, 1)), np.nan)


def measure_calibration(
    blend: np.ndarray, training: Faces, signals: Mapping[str, np.ndarray], groups: np.ndarray
) -> list[dict[str, Any]]:
    """Return, for each signal, the RMSE of tenths of the faces with a small to a large signal.

    Parameters
    ----------
    blend
        (N, 15, 2) out-of-fold predictions, pixels.
    training
        N faces with their labels.
    signals
        (N,) pixels by name; NaN where unknown. A signal that is known for too few faces is left
        out.
    groups
        (N,) group numbers, equal for near-duplicates.
    """
    errors = face_rmse(blend, training.keypoints)
    squares = np.square(blend.astype(np.float64) - training.keypoints)
    found = []
    for name, signal in signals.items():
        usable = np.flatnonzero(np.isfinite(signal) & np.isfinite(errors))
        if len(usable) < _MIN_FACES:
            continue
        order = usable[np.argsort(signal[usable], kind="stable")]
        found.append(
            {
                "signal": name,
                "rank_correlation": float(spearmanr(signal[usable], errors[usable]).statistic),
                "bins": [
                    _describe_bin(rows, signal, squares, training, groups)
                    for rows in np.array_split(order, _BINS)
                ],
            }
        )
    return found


def _describe_bin(
    rows: np.ndarray,
    signal: np.ndarray,
    squares: np.ndarray,
    training: Faces,
    groups: np.ndarray,
) -> dict[str, Any]:
    """Return the signal's range and the RMSE of some faces with its interval."""
    errors = GroupErrors.of(squares[rows], training.annotators[rows], groups[rows])

    def overall(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
        total = np.maximum(counts.sum((1, 2)), 1)
        return np.sqrt(sums.sum((1, 2)) / total)[:, None]

    (interval,) = bootstrap.intervals(errors, overall)
    return {
        "faces": len(rows),
        "signal": float(np.sqrt(np.square(signal[rows]).mean())),
        "smallest": float(signal[rows].min()),
        "largest": float(signal[rows].max()),
        "rmse": interval.value,
        "low": interval.low,
        "high": interval.high,
    }
