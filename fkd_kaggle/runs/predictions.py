"""An ensemble: members trained fold by fold, blended out of fold, averaged at prediction.

Conducts ``training``, ``blend`` and the run folder. Knows how time is shared between members and
what to do when it runs out or somebody presses Ctrl-C.
"""

from __future__ import annotations

import hashlib

import numpy as np

from fkd_kaggle import files
from fkd_kaggle.data.faces import Faces
from fkd_kaggle.keypoints import NUM_KEYPOINTS
from fkd_kaggle.recipes.plans import Member
from fkd_kaggle.runs.folder import Run


def store_out_of_fold(run: Run, member: Member, ids: np.ndarray, predictions: np.ndarray) -> None:
    with files.atomic_path(run.member(member.name) / "out_of_fold.npz") as path:
        np.savez_compressed(path, ids=ids, predictions=predictions)


def load_out_of_fold(run: Run, members: list[Member], recipe: str, count: int) -> np.ndarray:
    """Return (N, 15, 2): a recipe's predictions for held-out faces, averaged over its seeds."""
    total = np.zeros((count, NUM_KEYPOINTS, 2), np.float64)
    times = np.zeros((count, 1, 1))
    for member in members:
        if member.recipe.name == recipe:
            with np.load(run.member(member.name) / "out_of_fold.npz") as kept:
                rows = kept["ids"] - 1  # training ids are 1-based row numbers
                total[rows] += kept["predictions"]
                times[rows] += 1
    return np.where(times > 0, total / np.maximum(times, 1), np.nan).astype(np.float32)


def store_test_predictions(
    run: Run, member: Member, wanted: Faces, annotators: np.ndarray, predictions: np.ndarray
) -> None:
    with files.atomic_path(run.member(member.name) / "test.npz") as path:
        np.savez_compressed(path, digest=faces_digest(wanted, annotators), predictions=predictions)


def load_test_predictions(run: Run, member: Member, digest: str) -> np.ndarray | None:
    try:
        with np.load(run.member(member.name) / "test.npz") as kept:
            return kept["predictions"] if str(kept["digest"]) == digest else None
    except (OSError, ValueError, KeyError):
        return None


def faces_digest(wanted: Faces, annotators: np.ndarray) -> str:
    return hashlib.sha256(wanted.images.tobytes() + annotators.tobytes()).hexdigest()


def load_blended_out_of_fold(run: Run) -> np.ndarray:
    """Return the ensemble's out-of-fold predictions, (N, 15, 2) float32 pixels, NaN where none."""
    with np.load(run.path / "out_of_fold.npz") as stored:
        return np.asarray(stored["predictions"])
