"""An ensemble: members trained fold by fold, blended out of fold, averaged at prediction.

Conducts ``training``, ``blend`` and the run folder. Knows how time is shared between members and
what to do when it runs out or somebody presses Ctrl-C.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from fkd_kaggle.data import dataset
from fkd_kaggle.data.faces import Faces
from fkd_kaggle.ensemble import stacking
from fkd_kaggle.ensemble.fitting import blend_run
from fkd_kaggle.ensemble.member_predictions import (
    average_by_recipe,
    predict_with_members,
    usable_members,
)
from fkd_kaggle.errors import RunError
from fkd_kaggle.keypoints import COMPLETE, NUM_KEYPOINTS
from fkd_kaggle.nn import backend
from fkd_kaggle.recipes.plans import Member
from fkd_kaggle.runs.folder import Run
from fkd_kaggle.training.inference import predict_member


def predict_run(
    run: Run,
    data_dir: Path,
    wanted: Faces,
    annotators: np.ndarray,
    on_progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Return (N, 15, 2) float32 pixels: the ensemble's answer for ``wanted`` faces.

    Parameters
    ----------
    sources
        (N,) uint8: whose habits to answer in, from the lookup table.
    on_progress
        Called with (members done, members).

    Raises
    ------
    RunError
        The run was made on other data or has nothing usable yet.
    """
    run.check_data(dataset.fingerprint(data_dir))
    members = usable_members(run)
    if not (run.path / "blend.npz").exists():
        blend_run(run, data_dir, status=run.status)
    predictions = predict_with_members(run, members, wanted, annotators, on_progress)
    return _apply_blend(run, members, predictions, annotators)


class Predictor:
    """A run's networks, loaded once and asked many times, for faces of no data set.

    Lost faces are not searched for: who cuts crops of photos cuts others then.

    Raises
    ------
    RunError
        The run has nothing usable yet, or was never blended.
    """

    def __init__(self, run: Run) -> None:
        self.run, self.members = run, usable_members(run)
        if not (run.path / "blend.npz").exists():
            raise RunError(
                f"run {run.name} was stopped before it was blended: "
                f"go on with `fkd-kaggle train-ensemble --resume {run.name}`"
            )
        backend.start_keras(run.plan.precision)
        from fkd_kaggle.training.network import load_network

        self.networks = [
            load_network(member.recipe, run.member(member.name)) for member in self.members
        ]

    def __call__(self, images: np.ndarray, annotator: int = COMPLETE) -> np.ndarray:
        """Return (N, 15, 2) float32 pixels for (N, 96, 96) uint8, in the habits of ``source``."""
        nobody = np.full((len(images), NUM_KEYPOINTS, 2), np.nan, np.float32)
        wanted = Faces(images, nobody, np.arange(1, len(images) + 1))
        annotators = np.full(len(images), annotator, np.uint8)
        predictions = np.stack(
            [
                predict_member(network, member, wanted, annotators, again=False)
                for network, member in zip(self.networks, self.members, strict=True)
            ]
        )
        return _apply_blend(self.run, self.members, predictions, annotators)


def _apply_blend(
    run: Run, members: list[Member], predictions: np.ndarray, annotators: np.ndarray
) -> np.ndarray:
    """Return (N, 15, 2) from (M, N, 15, 2): the members mixed as the run's blend says."""
    with np.load(run.path / "blend.npz") as kept:
        recipes = [str(name) for name in kept["recipes"]]
        blended = stacking.Stack.from_arrays(kept)
    return blended.apply(average_by_recipe(predictions, members, recipes), annotators)
