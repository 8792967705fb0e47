"""Submissions that need no learning: the leaderboard's baseline entries and the mean predictor."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fkd_kaggle import files
from fkd_kaggle.data import dataset
from fkd_kaggle.data.faces import Faces, Lookup
from fkd_kaggle.data.metrics import masked_means
from fkd_kaggle.data.submission import submission_text
from fkd_kaggle.errors import DataError
from fkd_kaggle.keypoints import COLUMNS, IMAGE_SIZE


def baseline_entries(training: Faces, lookup: Lookup) -> dict[str, np.ndarray]:
    """Return the baseline entries of the leaderboard.

    Parameters
    ----------
    training
        The training faces.
    lookup
        The lookup table of the test faces.

    Returns
    -------
    Name → (M,) float64 pixels, in ascending order of RowId.
    """
    order = np.argsort(lookup.row_ids)
    features, image_ids = lookup.features[order], lookup.image_ids[order]
    flat = training.keypoints.reshape(-1, len(COLUMNS)).astype(np.float64)
    middle = np.full(len(COLUMNS), (IMAGE_SIZE - 1) / 2)
    overall = masked_means(flat, 0, middle)
    by_annotator = np.stack(
        [masked_means(flat[training.annotators == one], 0, overall) for one in (0, 1)]
    )
    annotators = lookup.annotators(image_ids)
    return {
        "column means (house)": overall[features],
        "column means per annotator (house)": by_annotator[annotators, features],
        "middle of the frame (house)": middle[features],
    }


def write_mean_submission(data_dir: Path, target: Path) -> None:
    """Write the submission that predicts the mean of the training labels for every face.

    Parameters
    ----------
    data_dir
        Folder with the competition's CSV files.
    target
        Path of the CSV to write.

    Raises
    ------
    DataError
        A file is missing or malformed, or a keypoint has no label.
    """
    training = dataset.read_training(data_dir)
    lookup = dataset.read_lookup(data_dir)
    labels = training.keypoints.reshape(len(training.ids), -1)
    if (~np.isfinite(labels)).all(0).any():
        raise DataError(f"{data_dir / 'training.csv'} has a keypoint that no row labels")
    means = np.nanmean(labels, axis=0)
    locations = [f"{value:.5f}" for value in means[lookup.features].tolist()]
    files.write_text(target, submission_text(lookup.row_ids.tolist(), locations))
