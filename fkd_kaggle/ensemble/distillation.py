"""Distillation: one network that is taught by the predictions of a whole run.

The taught network is the only member of a run of its own (``RUN-distilled``), so that every command
works with it. It is trained on

- labels that are moved halfway to the run's out-of-fold predictions (labels have errors, and the
  prediction for a face by networks that did not see it has other errors);
- the run's predictions for keypoints that are not labelled;
- the run's predictions for the test faces.

Faces of the held-out fold keep their labels and are not trained on, so that the score of the new
network can be compared with the run's. See Hinton et al. 2015 and, for cleaned labels,
docs/experiments.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from fkd_kaggle.data import dataset, metrics
from fkd_kaggle.data.dataset import count_queries
from fkd_kaggle.data.faces import Faces
from fkd_kaggle.ensemble.member_predictions import usable_members
from fkd_kaggle.ensemble.prediction import Predictor, load_run_blend
from fkd_kaggle.ensemble.run_blend import blend_run
from fkd_kaggle.errors import RecipeError, RunError
from fkd_kaggle.keypoints import COMPLETE, NUM_KEYPOINTS, PARTIAL, PARTIAL_KEYPOINTS
from fkd_kaggle.recipes.loading import load_recipe
from fkd_kaggle.recipes.plans import Plan
from fkd_kaggle.recipes.schema import Ensemble, EnsembleMember, Recipe
from fkd_kaggle.runs.distillation import read_test_faces, write_test_faces
from fkd_kaggle.runs.folder import Run, is_run, is_run_name, read_folds, write_folds
from fkd_kaggle.runs.lock import lock_run
from fkd_kaggle.runs.members import is_finished
from fkd_kaggle.runs.predictions import (
    average_out_of_fold,
    load_blended_out_of_fold,
    load_reference_predictions,
)
from fkd_kaggle.runs.scores import Scores
from fkd_kaggle.runs.training_labels import copy_labels, have_same_labels
from fkd_kaggle.training.events import OnEvent, ignore_events
from fkd_kaggle.training.member import TrainingData, read_training_data, train_member

RECIPE = "cascade-small"
"""Recipe of the distilled network, if none is named."""

SUFFIX = "-distilled"

TIME_LIMIT = 600.0
"""Seconds of the training, if no limit is given."""

_BATCH = 1024
"""Faces that the run predicts at a time."""

_OTHERS = [point for point in range(NUM_KEYPOINTS) if point not in PARTIAL_KEYPOINTS]


def distilled_name(teacher: Run) -> str:
    """Return the name of the run with the distilled network of a run.

    A name that would be too long for a run is shortened, with a digest of the whole name.
    """
    name = f"{teacher.name}{SUFFIX}"
    if is_run_name(name):
        return name
    digest = hashlib.sha256(teacher.name.encode()).hexdigest()[:8]
    return f"{teacher.name[:60]}-{digest}{SUFFIX}"


def find_distilled(teacher: Run) -> Run:
    """Return the run with the distilled network of a run.

    Raises
    ------
    RunError
        There is none.
    """
    path = teacher.path.with_name(distilled_name(teacher))
    if not is_run(path):
        raise RunError(
            f"run {teacher.name} has no distilled network: `fkd-kaggle distill {teacher.name}` "
            "trains one"
        )
    return Run.open(path)


def open_or_start(
    teacher: Run,
    recipe_name: str | None,
    *,
    epochs: int | None,
    time_limit: float | None = TIME_LIMIT,
    test_faces: bool | None = None,
) -> Run:
    """Return the run of a distillation, new or to be continued.

    A new run has the folds, corrections and reference predictions of the teacher.

    Parameters
    ----------
    teacher
        A blended run.
    recipe_name
        Recipe of the network. Default: that of the run that is continued, or ``RECIPE``.
    epochs
        Number of epochs. Default: as in the run that is continued, or the recipe's.
    time_limit
        Seconds for the training of a new run, and the default of ``train_distilled``.
    test_faces
        Whether to train on the teacher's predictions for the test faces. Default: as in the run
        that is continued, or True.

    Raises
    ------
    RecipeError
        The recipe is unknown, names an ensemble, or leaves out outliers, for which the teacher has
        no predictions of an earlier run.
    RunError
        The teacher has no folds, or an earlier distillation had another recipe, number of epochs,
        choice of test faces, or other labels.
    """
    path = teacher.path.with_name(distilled_name(teacher))
    run = Run.open(path) if is_run(path) else None
    stored = None if run is None else run.plan.ensemble.members[0].recipe
    recipe = _choose_recipe(recipe_name, epochs, stored)
    if recipe.outlier_deviations and load_reference_predictions(teacher) is None:
        raise RecipeError(
            f"recipe {recipe.name} has outlier_deviations, which needs predictions of an earlier "
            f"run, and run {teacher.name} was trained without --predictions-from: choose another "
            "recipe with --recipe"
        )
    folds = read_folds(teacher.path)
    if folds is None:
        raise RunError(f"run {teacher.name} has no folds: it was never trained")
    if run is not None:
        if stored is not None and recipe.digest != stored.digest:
            raise _other_distillation(run, "another recipe or number of epochs")
        if not have_same_labels(run, teacher):
            raise _other_distillation(run, "other corrections or reference predictions")
        used = read_test_faces(run)
        if None not in (used, test_faces) and used != test_faces:
            raise _other_distillation(run, f"--{'' if used else 'no-'}test-faces")
        if used is None:  # a run of an earlier version
            write_test_faces(run, test_faces is not False)
        return run
    ensemble = Ensemble(
        "distilled",
        (EnsembleMember(recipe),),
        description=f"One network taught by run {teacher.name}.",
        folds=teacher.plan.ensemble.folds,
        trained_folds=1,
        split=teacher.plan.ensemble.split,
        held_out=teacher.plan.ensemble.held_out,
    )
    plan = Plan(ensemble, teacher.plan.seed, teacher.plan.precision, time_limit)

    def prepare(run: Run) -> None:
        write_folds(run.path, folds)
        copy_labels(teacher, run)
        write_test_faces(run, test_faces is not False)

    return Run.create(teacher.path.parent, path.name, plan, teacher.data, prepare=prepare)


def train_distilled(
    run: Run,
    teacher: Run,
    data_dir: Path,
    *,
    time_limit: float | None = None,
    on_event: OnEvent = ignore_events,
    on_progress: Callable[[str], None] | None = None,
) -> Scores:
    """Train the network of a distillation; continues after Ctrl-C.

    Parameters
    ----------
    run
        The run of the distillation, from ``open_or_start``.
    teacher
        The run that teaches.
    data_dir
        Folder of the data set of both.
    time_limit
        Seconds for the training in this call. Default: the time limit of the run's plan.
    on_event
        Called with the events of the training.
    on_progress
        Called with the name of each step before the training.

    Returns
    -------
    Scores
        On the held-out fold.

    Raises
    ------
    RunError
        The teacher is not blended, or was trained on other data; or another process trains the run.
    NoUsefulNetworkError
        All networks of the teacher are worse than the mean face.
    KeyboardInterrupt
        Training or blending was interrupted; the same call continues.
    """
    with lock_run(run.path):
        data = read_training_data(run, data_dir)
        (member,) = run.plan.members
        try:
            if not is_finished(run, member):
                step = on_progress or (lambda name: None)
                predictor = Predictor(teacher)
                test_faces = read_test_faces(run) is not False
                taught = taught_data(predictor, data, member.fold, test_faces, step)
                step("training")
                run.update(status="training")
                limit = run.plan.time_limit if time_limit is None else time_limit
                train_member(run, member, taught, limit, on_event)
            return blend_run(run, data_dir, status="finished")
        except KeyboardInterrupt:
            run.update(status="interrupted")
            raise


def taught_data(
    predictor: Predictor,
    data: TrainingData,
    fold: int,
    test_faces: bool,
    on_progress: Callable[[str], None],
) -> TrainingData:
    """Return training data whose labels are taught by a run.

    Parameters
    ----------
    predictor
        The run's networks.
    data
        The training data.
    fold
        The held-out fold: its faces keep their labels.
    test_faces
        Whether to teach the run's predictions for the test faces.
    on_progress
        Called with the name of each step.

    Returns
    -------
    The training faces in their order, followed by rows that only teach, which no fold holds out.
    """
    faces = data.training if data.corrected is None else data.corrected
    out_of_fold = _load_used_out_of_fold(predictor.run)
    taught_fold = data.held_out != fold
    moved = _moved_halfway(faces.keypoints, out_of_fold)
    keypoints = np.where(taught_fold[:, None, None], moved, faces.keypoints)
    on_progress("predicting keypoints that are not labelled")
    rows = np.flatnonzero(taught_fold & ~np.isfinite(faces.keypoints).all((1, 2)))
    predicted = predict_in_batches(predictor, faces.images[rows], COMPLETE)
    partial = faces.annotators[rows] == PARTIAL
    complete = rows[~partial]
    keypoints[complete] = np.where(
        np.isfinite(keypoints[complete]), keypoints[complete], predicted[~partial]
    )
    # A partial face teaches the complete annotator's other points in a row of its own: the
    # annotator of a row follows from its labels.
    extra = [_other_points(faces.take(rows[partial]), predicted[partial])]
    if test_faces and data.test is not None:
        on_progress("predicting the test faces")
        extra += _taught_test_faces(predictor, *data.test)
    more = sum(len(part.ids) for part in extra)
    deviations = data.label_deviations
    if deviations is not None:  # predictions are no outliers
        deviations = np.concatenate([deviations, np.zeros((more, NUM_KEYPOINTS))])
    return replace(
        data,
        training=_join([data.training, *extra]),
        held_out=np.concatenate([data.held_out, np.full(more, -1, np.int64)]),
        corrected=_join([replace(faces, keypoints=keypoints.astype(np.float32)), *extra]),
        label_deviations=deviations,
    )


def predict_in_batches(predictor: Predictor, images: np.ndarray, annotator: int) -> np.ndarray:
    """Return (N, 15, 2) predictions for (N, 96, 96) faces; the networks' outputs need memory."""
    parts = [
        predictor(np.asarray(images[start : start + _BATCH]), annotator)
        for start in range(0, len(images), _BATCH)
    ]
    return np.concatenate([np.empty((0, NUM_KEYPOINTS, 2), np.float32), *parts])


def _choose_recipe(name: str | None, epochs: int | None, stored: Recipe | None) -> Recipe:
    """Return the recipe of a distillation.

    Parameters
    ----------
    name
        Name of the recipe. Default: the stored recipe, or ``RECIPE``.
    epochs
        Number of epochs. Default: those of the stored recipe, or the recipe's own.
    stored
        Recipe of the run that is continued; None for a new run.

    Raises
    ------
    RecipeError
        The recipe is unknown or names an ensemble.
    """
    recipe = stored if name is None and stored is not None else load_recipe(name or RECIPE)
    if not isinstance(recipe, Recipe):
        raise RecipeError(f"{name} is an ensemble: a distilled network has one recipe")
    if epochs is not None:
        return replace(recipe, epochs=epochs, extended_epochs=0)
    if stored is not None:
        return replace(recipe, epochs=stored.epochs, extended_epochs=stored.extended_epochs)
    return recipe


def _other_distillation(run: Run, difference: str) -> RunError:
    """Return the error for a distillation that cannot be continued as asked."""
    return RunError(
        f"run {run.name} was distilled with {difference}: delete {run.path} to start again"
    )


def _load_used_out_of_fold(run: Run) -> np.ndarray:
    """Return out-of-fold predictions, NaN where no network of the blend predicts.

    The stored predictions have the mean face where only excluded members predict.

    Parameters
    ----------
    run
        A blended run.

    Returns
    -------
    (N, 15, 2) float32 pixels.

    Raises
    ------
    RunError
        The run was not blended, or a file is damaged.
    """
    predictions = load_blended_out_of_fold(run)
    blend = load_run_blend(run, usable_members(run))
    used = [member for member in run.plan.members if member.name in blend.members]
    own = average_out_of_fold(run, used, len(predictions))
    return np.where(np.isfinite(own), predictions, np.nan)


def _moved_halfway(labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Return labels moved halfway to predictions, unchanged where either is missing."""
    both = np.isfinite(labels) & np.isfinite(predictions)
    return np.where(both, (labels + predictions) / 2, labels)


def _other_points(faces: Faces, predictions: np.ndarray) -> Faces:
    """Return faces with the predictions for the points that the partial annotator leaves out."""
    keypoints = np.full(predictions.shape, np.nan, np.float32)
    keypoints[:, _OTHERS] = predictions[:, _OTHERS]
    return replace(faces, keypoints=keypoints)


def _taught_test_faces(predictor: Predictor, test: Faces, annotators: np.ndarray) -> list[Faces]:
    """Return the test faces with the run's predictions as labels."""
    result = []
    for annotator in (COMPLETE, PARTIAL):
        faces = test.take(np.flatnonzero(annotators == annotator))
        predictions = predict_in_batches(predictor, faces.images, annotator)
        if annotator == COMPLETE:
            result.append(replace(faces, keypoints=predictions))
            continue
        keypoints = np.full(predictions.shape, np.nan, np.float32)
        keypoints[:, list(PARTIAL_KEYPOINTS)] = predictions[:, list(PARTIAL_KEYPOINTS)]
        result += [replace(faces, keypoints=keypoints), _other_points(faces, predictions)]
    return result


def _join(parts: list[Faces]) -> Faces:
    """Return the faces of all parts."""
    return Faces(
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.keypoints for part in parts]),
        np.concatenate([part.ids for part in parts]),
    )


def compare_on_fold(run: Run, teacher: Run, data_dir: Path) -> tuple[float | None, float | None]:
    """Return the combined RMSE of the distilled network and of the run on the same keypoints.

    Parameters
    ----------
    run
        The trained run of the distillation.
    teacher
        The run that taught it, whose predictions are out of fold.
    data_dir
        Folder of their data set.

    Returns
    -------
    Pixels, on the labelled keypoints that both predict out of fold. None without such a keypoint,
    for example if the distilled network is excluded because the mean face is better.

    Raises
    ------
    RunError
        A run was not blended, or a file is damaged.
    """
    training = dataset.read_training(data_dir)
    counts = count_queries(data_dir, training)
    predictions = np.stack([_load_used_out_of_fold(each) for each in (run, teacher)])
    compared = np.where(np.isfinite(predictions).all(0), predictions, np.nan)
    mine, theirs = (
        metrics.combined_rmse(each, training.keypoints, training.annotators, counts)
        for each in compared
    )
    return mine, theirs
