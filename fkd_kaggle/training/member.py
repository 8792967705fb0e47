"""Trains one member of a run and stores its predictions.

Splits the faces, prepares them as the recipe says, trains with ``training.trainer`` and stores
out-of-fold and test predictions. Knows nothing about other members or the blend.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fkd_kaggle.data import corrections, dataset, metrics, outliers
from fkd_kaggle.data.corrections import Correction
from fkd_kaggle.data.dataset import count_queries, read_test_if_present
from fkd_kaggle.data.faces import Faces
from fkd_kaggle.errors import RecipeError
from fkd_kaggle.files import delete_temporary_files
from fkd_kaggle.recipes.plans import Member
from fkd_kaggle.recipes.schema import Recipe
from fkd_kaggle.runs.corrections import load_run_corrections
from fkd_kaggle.runs.folder import Run, load_folds
from fkd_kaggle.runs.members import member_progress, weights_path
from fkd_kaggle.runs.predictions import (
    delete_outdated_predictions,
    load_reference_predictions,
    store_out_of_fold,
    store_test_predictions,
)
from fkd_kaggle.training import preprocessing, published_metrics
from fkd_kaggle.training.events import MemberEnded, OnEvent
from fkd_kaggle.training.inference import flip_disagreement, predict_keypoints
from fkd_kaggle.training.weight_files import compact_weights

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class TrainingData:
    """The faces that the members of a run are trained and scored on."""

    training: Faces
    """N training faces with the labels of training.csv: members are scored on these."""
    held_out: np.ndarray
    """(N,) int64: the fold in which each training face is held out."""
    test: tuple[Faces, np.ndarray] | None
    """The test faces and their annotators; None without a test set."""
    query_counts: np.ndarray
    """(2, 15): how often the lookup table queries each keypoint, by annotator."""
    corrected: Faces | None = None
    """The training faces with the run's corrections of labels, on which members are trained; None
    without corrections."""
    label_deviations: np.ndarray | None = None
    """(N, 15) from ``outliers.label_deviations``, for recipes with ``outlier_deviations``; 0 for
    labels that the user has checked; None without predictions of an earlier run."""

    def faces_for(self, recipe: Recipe) -> Faces:
        """Return the N training faces with the labels that a recipe is trained on.

        Raises
        ------
        RecipeError
            The recipe leaves out outliers, and the run has no predictions of an earlier run.
        """
        faces = self.corrected or self.training
        if not recipe.outlier_deviations:
            return faces
        if self.label_deviations is None:
            raise RecipeError(
                f"recipe {recipe.name} has outlier_deviations, which needs predictions: name an "
                "earlier run of the same data with --predictions-from"
            )
        outlying = np.nan_to_num(self.label_deviations) > recipe.outlier_deviations
        keypoints = np.where(outlying[..., None], np.nan, faces.keypoints)
        return Faces(faces.images, keypoints.astype(np.float32), faces.ids)


def read_training_data(run: Run, data_dir: Path) -> TrainingData:
    """Read the training data of a run; assigns the folds on the first call.

    Parameters
    ----------
    run
        The run.
    data_dir
        Folder of the competition's files.

    Raises
    ------
    DataError
        The files are missing or invalid.
    RunError
        The run was made on another data set.
    """
    run.check_data(dataset.fingerprint(data_dir))
    training = dataset.read_training(data_dir)
    found = load_run_corrections(run, training)
    reference = load_reference_predictions(run)
    return TrainingData(
        training,
        load_folds(run, training),
        read_test_if_present(data_dir),
        count_queries(data_dir, training),
        corrections.apply_corrections(training, found) if found else None,
        None if reference is None else _label_deviations(training, found, reference),
    )


def train_member(
    run: Run,
    member: Member,
    data: TrainingData,
    budget: float | None,
    on_event: OnEvent,
    *,
    seconds: float | None = None,
    tensorboard: bool = False,
) -> float:
    """Train one member and store its predictions.

    Parameters
    ----------
    run
        The run.
    member
        A member of its plan.
    data
        The run's training data.
    budget
        Seconds for the training in this call; None for no limit.
    on_event
        Called with the events of this member.
    seconds
        Seconds from now until the predictions must be stored; None for no limit. Training ends
        earlier, by the measured time of the predictions.
    tensorboard
        Whether to write TensorBoard logs into the run folder.

    Returns
    -------
    The seconds that this call took besides training.

    Raises
    ------
    DataError
        There are no faces to train on.
    RecipeError
        The network cannot be built.
    KeyboardInterrupt
        Training was interrupted; the checkpoint is written.
    """
    started, before = time.monotonic(), member_progress(run, member).seconds
    delete_temporary_files(run.member_folder(member.name))
    delete_outdated_predictions(run.member_folder(member.name))
    held_out = data.training.take(np.nonzero(data.held_out == member.fold)[0])
    others = data.faces_for(member.recipe).take(np.nonzero(data.held_out != member.fold)[0])
    prepared = preprocessing.prepare_faces(
        member.recipe, others, run.plan.ensemble.split, member.seed
    )
    validation = prepared.validation or held_out

    # The trainer imports Keras, which takes seconds; commands that do not train skip the import.
    from fkd_kaggle.training import trainer
    from fkd_kaggle.training.network import load_weights

    network, progress = trainer.fit_member(
        member,
        run.member_folder(member.name),
        prepared.training,
        validation,
        lambda predictions: _score(predictions, validation, data.query_counts),
        position=run.plan.members.index(member),
        budget=None if budget is None else budget + before,
        deadline=None if seconds is None else started + seconds,
        faces_after=len(held_out.images) + (len(data.test[0].images) if data.test else 0),
        on_event=on_event,
        callbacks=_tensorboard_callbacks(run, member) if tensorboard else [],
    )
    if progress.stopped:
        folder = run.member_folder(member.name)
        # Before the predictions are stored, so that the stored weights give the same ones.
        compact_weights(weights_path(folder))
        load_weights(network, folder)
    predictions = _store_predictions(run, member, network, held_out, prepared.copies, data.test)
    duration = time.monotonic() - started
    rmse = _score(predictions, held_out, data.query_counts)
    on_event(MemberEnded(member.name, rmse, duration, progress.stopped))
    return duration - (progress.seconds - before)


def _label_deviations(
    training: Faces, found: Sequence[Correction], reference: np.ndarray
) -> np.ndarray:
    """Return (N, 15) deviations of labels; 0 for those that the user has corrected or confirmed."""
    deviations = outliers.label_deviations(training.keypoints, training.annotators, reference)
    for correction in found:
        deviations[correction.row - 1, correction.keypoint] = 0.0
    return deviations


def _score(predictions: np.ndarray, faces: Faces, query_counts: np.ndarray) -> float:
    """Return the RMSE of (N, 15, 2) predictions in pixels; NaN without scored coordinates."""
    value = metrics.combined_rmse(predictions, faces.keypoints, faces.annotators, query_counts)
    return float("nan") if value is None else value


def _tensorboard_callbacks(run: Run, member: Member) -> list[keras.callbacks.Callback]:
    import keras

    logs = run.tensorboard_folder / member.name
    return [keras.callbacks.TensorBoard(str(logs), write_graph=False)]


def _store_predictions(
    run: Run,
    member: Member,
    network: keras.Model,
    held_out: Faces,
    copies: Faces | None,
    test: tuple[Faces, np.ndarray] | None,
) -> np.ndarray:
    """Predict and store everything that the run needs; return the out-of-fold predictions."""

    def predict(faces: Faces, annotators: np.ndarray) -> np.ndarray:
        return predict_keypoints(network, member.recipe, faces.images, annotators, crop_search=True)

    predictions = predict(held_out, held_out.annotators)
    if copies is not None:
        unseen = preprocessing.augment_offline(held_out, member.recipe, member.seed)
        for name, faces in (("copies", copies), ("unseen_copies", unseen)):
            published_metrics.store_published_metrics(
                run, member, name, predict(faces, faces.annotators), faces.keypoints
            )
    disagreement = flip_disagreement(network, member.recipe, held_out.images)
    store_out_of_fold(run, member, held_out.ids, predictions, disagreement)
    if test is not None:
        # While the network is compiled: the predict command then only reads stored predictions.
        store_test_predictions(run, member, *test, predict(*test))
    return predictions
