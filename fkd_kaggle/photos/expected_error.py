"""The calibration of expected errors (``ensemble.error_calibration``) of a run that has none.

Runs are calibrated when they are blended; runs of earlier versions are calibrated here, with their
networks, if the data set is there.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np

from fkd_kaggle.data import dataset
from fkd_kaggle.ensemble.error_calibration import fit_calibration
from fkd_kaggle.ensemble.prediction import Predictor
from fkd_kaggle.errors import FkdError
from fkd_kaggle.runs.calibration import Calibration, load_calibration, store_calibration
from fkd_kaggle.runs.folder import read_folds
from fkd_kaggle.runs.predictions import load_blended_out_of_fold

_FACES_PER_FOLD = 160
"""Faces that are measured in each fold. 640 faces of a run with four folds take 20 s on 2 cores."""


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
    except FkdError:
        return None
    if calibration is not None:
        with suppress(FkdError):  # the run's folder may be read-only
            store_calibration(run, calibration)
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
    None if no network predicts mirror images, or there are too few labelled faces. Faces whose
    annotator has no network that predicts mirror images are left out.

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
    labels = np.isfinite(predictions - training.keypoints).any((1, 2))
    random = np.random.default_rng(0)
    disagreement = np.full(len(training.images), np.nan)
    for fold in sorted({member.fold for member in predictor.members}):
        rows = random.permutation(np.flatnonzero((held_out == fold) & labels))[:_FACES_PER_FOLD]
        if not len(rows):
            continue
        faces = training.take(rows)
        found = predictor.disagreement(faces.images, faces.annotators, fold=fold)
        if found is None:
            return None
        disagreement[rows] = found
    return fit_calibration(disagreement, predictions, training, run.scores)
