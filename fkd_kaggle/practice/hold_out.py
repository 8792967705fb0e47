"""A test set with a known solution, made from a share of the training faces.

Near-duplicates stay on one side, and the share is the same for both annotators.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fkd_kaggle import files
from fkd_kaggle.data import csv_format, dataset, folds
from fkd_kaggle.data.faces import Faces, Lookup
from fkd_kaggle.data.submission import submission_text
from fkd_kaggle.errors import DataError
from fkd_kaggle.keypoints import NUM_KEYPOINTS


def hold_out_test_set(folder: Path, share: float, seed: int) -> None:
    """Move a share of training.csv to test.csv; write its lookup table and solution.

    Parameters
    ----------
    folder
        Contains training.csv, which is rewritten. IdLookupTable.csv, test.csv and solution.csv are
        added.
    share
        Share of the labelled faces to hold out, from 0 to 1.
    seed
        Random seed of the choice.

    Raises
    ------
    DataError
        training.csv is malformed or has too few faces.
    """
    everything = dataset.read_training(folder)
    test_rows = _choose(everything, share, seed)
    if not test_rows.any() or test_rows.all():
        raise DataError(f"training.csv has too few faces to hold out {share:.0%} of them")
    test = everything.take(test_rows)
    test = Faces(test.images, test.keypoints, np.arange(1, len(test.images) + 1))
    csv_format.write_test_csv(folder / "test.csv", test)
    # Flattened keypoints are in the order of ``keypoints.COLUMNS``: x before y.
    coordinates = test.keypoints.reshape(-1, 2 * NUM_KEYPOINTS)
    positions, features = np.nonzero(np.isfinite(coordinates))
    row_ids = np.arange(1, len(features) + 1)
    lookup = Lookup(row_ids, test.ids[positions], features.astype(np.int16))
    csv_format.write_lookup_csv(folder / "IdLookupTable.csv", lookup)
    text = submission_text(row_ids, coordinates[positions, features])
    files.write_text(folder / "solution.csv", text)
    kept = everything.take(~test_rows)
    # The images are copied because they may be mapped from the file that is rewritten.
    kept = Faces(np.array(kept.images), kept.keypoints, kept.ids)
    csv_format.write_training_csv(folder / "training.csv", kept)


def _choose(everything: Faces, share: float, seed: int) -> np.ndarray:
    """Return (N,) bool: whole groups of near-duplicates, ``share`` of each annotator's faces."""
    groups = folds.near_duplicate_groups(everything)
    labelled = np.isfinite(everything.keypoints).any((1, 2))
    annotators = np.eye(2, dtype=np.int64)[everything.annotators]
    wanted = np.ceil(share * annotators[labelled].sum(0))
    taken = np.zeros(2)
    chosen = np.zeros(len(groups), bool)
    for group in np.random.default_rng(seed).permutation(np.unique(groups)):
        rows = groups == group
        after = taken + annotators[rows & labelled].sum(0)
        if (after <= wanted).all():
            chosen |= rows
            taken = after
    return chosen & labelled
