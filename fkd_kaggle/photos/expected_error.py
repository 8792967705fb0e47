"""Expected errors of faces in photos, from the flip disagreement of the networks.

The predictions for a face and for its mirror image disagree more where they are wrong. How much
more is measured once for each run on its training faces: the flip disagreement of the networks that
did not see a face, against the error of the out-of-fold prediction for it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.stats import spearmanr
from sklearn.isotonic import IsotonicRegression

from fkd_kaggle.data import dataset
from fkd_kaggle.ensemble.prediction import Predictor
from fkd_kaggle.errors import FkdError
from fkd_kaggle.runs.calibration import Calibration, load_calibration, store_calibration
from fkd_kaggle.runs.folder import Run, read_folds
from fkd_kaggle.runs.predictions import load_blended_out_of_fold

_FACES_PER_FOLD = 160
"""Faces that are measured in each fold. 640 faces of a run with four folds take 20 s on 2 cores."""

_BINS = 10

_MIN_LABELS = 4


def find_calibration(predictor: Predictor, data_dir: Path | None) -> Calibration | None:
    """Return a run's stored calibration, or measure and store it if the data set is there.

    Parameters
    ----------
    predictor
        The networks of the run.
    data_dir
        Folder of the data set that the run was trained on; None to use a stored calibration only.

    Returns
    -------
    None if no calibration is stored and the data set is missing or another one.
    """
    run = predictor.run
    stored = load_calibration(run)
    if stored is not None or data_dir is None:
        return stored
    try:
        run.check_data(dataset.fingerprint(data_dir))
        calibration = measure_calibration(predictor, data_dir)
        if calibration is not None:
            store_calibration(run, calibration)
    except FkdError:
        return None
    return calibration


def measure_calibration(predictor: Predictor, data_dir: Path) -> Calibration | None:
    """Measure how the error of out-of-fold predictions depends on flip disagreement.

    Parameters
    ----------
    predictor
        The networks of a blended run.
    data_dir
        Folder of the data set that the run was trained on.

    Returns
    -------
    None if no network predicts mirror images, or there are too few labelled faces.

    Raises
    ------
    FkdError
        The data set or the out-of-fold predictions cannot be read.
    """
    run = predictor.run
    training, held_out = dataset.read_training(data_dir), read_folds(run.path)
    predictions = load_blended_out_of_fold(run)
    if held_out is None:
        return None
    squared = np.square(predictions - training.keypoints).reshape(len(predictions), -1)
    known = np.isfinite(squared)
    usable = known.sum(1) >= 2 * _MIN_LABELS
    random = np.random.default_rng(0)
    disagreements, errors = [], []
    for fold in sorted({member.fold for member in predictor.members}):
        rows = np.flatnonzero((held_out == fold) & usable)
        rows = np.sort(random.permutation(rows)[:_FACES_PER_FOLD])
        if not len(rows):
            continue
        faces = training.take(rows)
        found = predictor.disagreement(faces.images, faces.annotators, fold=fold)
        if found is None:
            return None
        disagreements.append(found)
        errors.append(np.nanmean(squared[rows], axis=1))
    if not errors or sum(map(len, errors)) < 2 * _BINS:
        return None
    return _fit(np.concatenate(disagreements), np.concatenate(errors), _ensemble_gain(run))


def _fit(disagreement: np.ndarray, squared: np.ndarray, scale: float) -> Calibration:
    """Return the calibration from (N,) disagreements and mean squared errors of faces."""
    order = np.argsort(disagreement)
    bins = np.array_split(order, _BINS)
    centres = np.array([disagreement[rows].mean() for rows in bins])
    means = np.array([squared[rows].mean() for rows in bins])
    rmse = np.sqrt(IsotonicRegression().fit_transform(centres, means))
    return Calibration(
        tuple(round(float(value), 4) for value in centres),
        tuple(round(float(value), 4) for value in rmse),
        len(order),
        round(scale, 4),
        round(float(spearmanr(disagreement, squared).statistic), 3),
    )


def _ensemble_gain(run: Run) -> float:
    """Return the expected error of the ensemble over its out-of-fold error; 1 if unknown."""
    scores = run.scores
    if scores is None or not scores.combined or not scores.expected:
        return 1.0
    return min(1.0, scores.expected / scores.combined)
