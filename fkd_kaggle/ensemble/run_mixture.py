"""Several runs blended into one prediction, with weights fitted out of fold.

The inputs are the runs' own blends. Weights are fitted on the faces that all runs hold out. The
cross-validated score of such a face comes from weights that were fitted without it and its
near-duplicates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from fkd_kaggle.data import dataset, metrics
from fkd_kaggle.data.dataset import count_queries, read_test_and_lookup
from fkd_kaggle.data.faces import Faces
from fkd_kaggle.data.folds import near_duplicate_groups
from fkd_kaggle.ensemble import blending, member_weights, stacking
from fkd_kaggle.ensemble.blend import total_error
from fkd_kaggle.ensemble.member_errors import mean_squares
from fkd_kaggle.ensemble.prediction import predict_run
from fkd_kaggle.ensemble.reference import mean_face
from fkd_kaggle.errors import RunError
from fkd_kaggle.keypoints import COMPLETE, PARTIAL
from fkd_kaggle.runs.folder import Run
from fkd_kaggle.runs.predictions import load_scored_out_of_fold
from fkd_kaggle.runs.scores import Scores

MIN_FACES: Final = 50
"""Smallest number of faces that all runs hold out; with fewer the runs have equal weights."""


@dataclass(frozen=True)
class RunMixture:
    """The blended predictions of several runs for the test faces."""

    name: str
    """Names of the runs, joined by "+"."""
    predictions: np.ndarray
    """(T, 15, 2) float32 pixels."""
    scores: Scores
    """``by_member`` has the cross-validated RMSE of each run."""
    faces: int
    """Number of faces that the weights are fitted on; 0 for equal weights."""


def mix_runs(
    runs: Sequence[Run],
    data_dir: Path,
    on_progress: Callable[[int, int], None] | None = None,
) -> RunMixture:
    """Predict the test faces with several runs and blend them.

    Parameters
    ----------
    runs
        At least two different runs on the same data.
    data_dir
        Folder of the data set.
    on_progress
        Called with the number of members done and the number of members, for each run.

    Raises
    ------
    RunError
        A run is named twice, was created on other data, or has no trained network.
    """
    names = [run.name for run in runs]
    if len({run.path.resolve() for run in runs}) < len(runs):
        raise RunError(f"run {max(names, key=names.count)} is named twice: name each run once")
    training = dataset.read_training(data_dir)
    test, lookup = read_test_and_lookup(data_dir)
    annotators = lookup.annotators(test.ids)
    queries = count_queries(data_dir, training)
    predictions = np.stack(
        [predict_run(run, data_dir, test, annotators, on_progress) for run in runs]
    )
    held_out = np.stack([load_scored_out_of_fold(run) for run in runs])
    common = np.isfinite(held_out[..., 0]).any(2).all(0)
    weights, validated, faces = _fit_weights(
        held_out[:, common], training.take(common.nonzero()[0])
    )
    whole = np.full_like(held_out[0], np.nan)
    whole[common] = validated
    mixed = blending.apply_weights(predictions, weights, annotators)
    scores = _scores(runs, held_out, whole, training, queries)
    expected, reason = _expected(
        runs, held_out, predictions, weights, training, annotators, queries
    )
    return RunMixture(
        "+".join(names),
        mixed,
        Scores(**{**vars(scores), "expected": expected, "expected_unknown": reason}),
        faces,
    )


def _fit_weights(held_out: np.ndarray, faces: Faces) -> tuple[np.ndarray, np.ndarray, int]:
    """Fit the weights of R runs.

    Parameters
    ----------
    held_out
        (R, N, 15, 2) pixels, predictions of each run for faces that it held out.
    faces
        The N faces.

    Returns
    -------
    weights
        (2, 15, R).
    predictions
        (N, 15, 2) pixels, each with weights that were fitted without the face.
    count
        Number of faces that the weights are fitted on; 0 for equal weights.
    """
    weights = np.full((2, held_out.shape[2], len(held_out)), 1 / len(held_out))
    count = len(faces.images)
    groups = near_duplicate_groups(faces) if count >= MIN_FACES else np.zeros(count)
    if len(np.unique(groups)) < 2:
        return weights, blending.apply_weights(held_out, weights, faces.annotators), 0
    known = held_out, faces.keypoints, faces.annotators
    fitted = blending.fit_weights(*known)
    weights = np.where(fitted.sum(-1, keepdims=True) == 0, weights, fitted)
    return weights, stacking.predict_without_own_face(*known, groups), count


def _scores(
    runs: Sequence[Run],
    held_out: np.ndarray,
    mixed: np.ndarray,
    training: Faces,
    queries: np.ndarray,
) -> Scores:
    """Return the scores of mixed predictions, and of each run on the same faces."""
    labels, annotators = training.keypoints, training.annotators
    common = np.isfinite(mixed[..., 0]).any(1)
    constant = mean_face(labels, annotators)[annotators]
    constant = np.where(np.isfinite(mixed), constant, np.nan)
    alone = {
        run.name: metrics.combined_rmse(
            np.where(common[:, None, None], one, np.nan), labels, annotators, queries
        )
        for run, one in zip(runs, held_out, strict=True)
    }
    return Scores(
        complete=metrics.rmse(mixed, labels, annotators == COMPLETE),
        partial=metrics.rmse(mixed, labels, annotators == PARTIAL),
        combined=metrics.combined_rmse(mixed, labels, annotators, queries),
        expected=None,
        by_member={name: value for name, value in alone.items() if value is not None},
        reference=metrics.combined_rmse(constant, labels, annotators, queries),
    )


def _expected(
    runs: Sequence[Run],
    held_out: np.ndarray,
    predictions: np.ndarray,
    weights: np.ndarray,
    training: Faces,
    test_annotators: np.ndarray,
    queries: np.ndarray,
) -> tuple[float | None, str]:
    """Return the expected score in pixels, or None and the reason why there is none.

    The squared error of each run on test faces is its squared expected score; it is divided between
    keypoints as on held-out faces. Averaging lowers it by the ambiguity (``member_weights``).
    """
    errors = []
    for run, one in zip(runs, held_out, strict=True):
        scores = run.scores
        if scores is None or scores.expected is None:
            why = scores.expected_unknown if scores else ""
            return None, f"run {run.name} has none" + (f": {why}" if why else "")
        squares = mean_squares(one, training.keypoints, training.annotators)
        total = total_error(squares, queries)
        errors.append(squares * (scores.expected**2 / total if total else np.nan))
    filled = member_weights.fill_errors(
        np.stack(errors), np.ones((len(runs), *queries.shape), bool)
    )
    differences = member_weights.mean_differences(predictions, test_annotators)
    total = total_error(member_weights.estimate_errors(weights, filled, differences), queries)
    if total is None or total <= 0:
        return None, "the runs differ more than their errors explain"
    return float(np.sqrt(total)), ""
