"""Blend the members of a run and compute its scores: reads and writes the run folder.

The blend itself is computed in ``ensemble.blend``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from fkd_kaggle.data import corrections, dataset, metrics
from fkd_kaggle.data.dataset import count_queries, read_test_if_present
from fkd_kaggle.data.faces import Faces
from fkd_kaggle.ensemble import member_weights
from fkd_kaggle.ensemble.blend import (
    Blend,
    FittedBlend,
    PredictUnlabelled,
    fit_blend,
    member_errors,
    total_error,
)
from fkd_kaggle.ensemble.error_calibration import calibrate_run
from fkd_kaggle.ensemble.expected_score import SMALLEST_SHARE, expected_rmse, why_unknown
from fkd_kaggle.ensemble.member_errors import HeldOutPredictions, stack_by_recipe
from fkd_kaggle.ensemble.member_predictions import predict_with_members, usable_members
from fkd_kaggle.ensemble.reference import mean_face, predict_mean_face
from fkd_kaggle.keypoints import COMPLETE, PARTIAL
from fkd_kaggle.recipes.plans import Member
from fkd_kaggle.runs.calibration import store_calibration
from fkd_kaggle.runs.corrections import load_run_corrections
from fkd_kaggle.runs.folder import Run, load_folds
from fkd_kaggle.runs.predictions import (
    faces_digest,
    has_blend,
    has_current_out_of_fold,
    load_blend,
    load_member_out_of_fold,
    load_test_predictions,
    store_blend,
    store_blended_out_of_fold,
    store_out_of_fold,
)
from fkd_kaggle.runs.scores import Scores
from fkd_kaggle.training import published_metrics

_NOT_COMPARED: Final = "the networks were not compared on the test faces"
"""Why there is no expected score with ``expect=False``."""


def blend_run(
    run: Run,
    data_dir: Path,
    *,
    status: str | None = None,
    expect: bool = True,
    stored_only: bool = False,
) -> Scores:
    """Fit the blend on the usable members and store blend, predictions, scores and status.

    Parameters
    ----------
    run
        The run.
    data_dir
        Folder of the data set that the run was created on.
    status
        New status of the run. Default: the status that run.json has after the blend, because
        another process may end a training meanwhile.
    expect
        Whether to compare the members on the test faces and to estimate the leaderboard score.
    stored_only
        Blend only members whose predictions are stored, so that no network is loaded. If there are
        none, all usable members are blended.

    Returns
    -------
    Scores
        The cross-validated scores.

    Raises
    ------
    DataError
        A file of the data set, or corrections.csv in the run's folder, is missing or damaged.
    RunError
        No member is usable yet, or a file of the run is damaged.
    """
    training = dataset.read_training(data_dir)
    test = read_test_if_present(data_dir) if expect else None
    found = load_run_corrections(run, training)
    corrected = corrections.apply_corrections(training, found) if found else training
    members = usable_members(run)
    if stored_only:
        digest = None if test is None else faces_digest(*test)
        count = len(training.images)
        members = [one for one in members if _is_stored(run, one, count, digest)] or members
    folds = load_folds(run, training)
    query_counts = count_queries(data_dir, training)
    held_out = _held_out_predictions(run, members, training, folds)
    # The blend is fitted to the corrected labels and scored on those of training.csv, so that the
    # scores of runs with and without corrections can be compared.
    fitted = fit_blend(
        held_out,
        training,
        corrected,
        folds,
        query_counts,
        run.plan.ensemble.blend,
        None if test is None else _unlabelled_predictor(run, members, *test),
    )
    store_blend(run, fitted.blend.recipes, fitted.blend.arrays())
    store_blended_out_of_fold(run, training.ids, fitted.predictions, fitted.scored)
    scores = _cross_validated_scores(fitted, training, folds, query_counts)
    recipes = tuple(dict.fromkeys(one.recipe for one in held_out))
    stacked = stack_by_recipe(held_out, recipes, len(training.images))
    by_recipe = dict(zip(recipes, stacked, strict=True))
    expected, reason = (
        _expected_score(run, fitted, scores.combined, query_counts, test is not None)
        if expect
        else (None, _NOT_COMPARED)
    )
    scores = replace(
        scores,
        by_member=_scores_by_recipe(by_recipe, training, query_counts),
        published_metrics=published_metrics.collect_published_metrics(
            run, members, by_recipe, training.keypoints
        ),
        expected=expected,
        expected_unknown=reason,
    )
    used = [member for member in members if member.name in fitted.blend.members]
    calibration = calibrate_run(run, used, training, _scored_predictions(fitted), scores)
    store_calibration(run, calibration)
    run.update(status=status, scores=scores)
    return scores


def is_blend_current(run: Run) -> bool:
    """Return whether the stored blend is of the members that are usable now.

    Blends of earlier versions do not name their members and count as current.
    """
    if not has_blend(run):
        return False
    _, arrays = load_blend(run)
    if "members" not in arrays:
        return True
    known = {str(name) for key in ("members", "excluded") for name in arrays[key]}
    return known == {member.name for member in usable_members(run)}


def expected_without_each(
    run: Run, data_dir: Path, blend: Blend, query_counts: np.ndarray
) -> tuple[float | None, dict[str, float | None]]:
    """Return the expected score of a blend, and the score without each of its members.

    The weights of the other members are scaled to sum to one. Corrections are not considered.

    Parameters
    ----------
    run
        The run, whose members have stored predictions.
    data_dir
        Folder of the data set.
    blend
        The run's blend.
    query_counts
        (2, 15) numbers of queries by annotator and keypoint.

    Returns
    -------
    Pixels, and pixels by the name of the member that is left out; None without test faces or
    labels.
    """
    test = read_test_if_present(data_dir)
    by_name = {member.name: member for member in run.plan.members}
    members = [by_name[name] for name in blend.members if name in by_name]
    if test is None or len(members) < len(blend.members):
        return None, {}
    training = dataset.read_training(data_dir)
    held_out = _held_out_predictions(run, members, training, load_folds(run, training))
    constant = mean_face(training.keypoints, training.annotators)
    errors = member_errors(held_out, training, constant[training.annotators], query_counts)
    predictions = predict_with_members(run, members, *test)
    fixed = constant[test[1]].astype(np.float32)
    everyone = np.concatenate([predictions, fixed[None]])
    differences = member_weights.mean_differences(everyone, test[1])

    def expected(weights: np.ndarray) -> float | None:
        squares = member_weights.estimate_errors(weights, errors, differences)
        total = total_error(squares, query_counts)
        return None if total is None else float(np.sqrt(max(total, 0.0)))

    weights = blend.all_weights()
    found = {}
    for index, member in enumerate(members):
        others = weights.copy()
        others[..., index] = 0.0
        total = others.sum(-1, keepdims=True)
        others = np.where(total > 0, others / np.where(total > 0, total, 1), 0.0)
        others[..., -1] += others.sum(-1) == 0  # the mean face, where no other member predicts
        found[member.name] = expected(others)
    return expected(weights), found


def _is_stored(run: Run, member: Member, count: int, digest: str | None) -> bool:
    """Return whether out-of-fold predictions, and those for the test faces, are stored."""
    if not has_current_out_of_fold(run, member, count):
        return False
    return digest is None or load_test_predictions(run, member, digest) is not None


def _held_out_predictions(
    run: Run, members: Sequence[Member], training: Faces, folds: np.ndarray
) -> list[HeldOutPredictions]:
    """Return the out-of-fold predictions of members; predict and store those that are missing."""
    result, count = [], len(training.images)
    for member in members:
        if not has_current_out_of_fold(run, member, count):
            validation = training.take(np.nonzero(folds == member.fold)[0])
            predictions = predict_with_members(run, [member], validation, validation.annotators)
            store_out_of_fold(run, member, validation.ids, predictions[0])
        rows, predicted = load_member_out_of_fold(run, member)
        result.append(HeldOutPredictions(member.name, member.recipe.name, rows, predicted))
    return result


def _unlabelled_predictor(
    run: Run, members: Sequence[Member], test: Faces, annotators: np.ndarray
) -> PredictUnlabelled:
    """Return a function that predicts the test faces with members of a run."""

    def predict(names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        chosen = [member for member in members if member.name in names]
        return predict_with_members(run, chosen, test, annotators), annotators

    return predict


def _scored_predictions(fitted: FittedBlend) -> np.ndarray:
    """Return (N, 15, 2) out-of-fold predictions, NaN for faces on which the run is not scored."""
    return np.where(fitted.scored[:, None, None], fitted.predictions, np.nan)


def _cross_validated_scores(
    fitted: FittedBlend, training: Faces, folds: np.ndarray, query_counts: np.ndarray
) -> Scores:
    """Return the scores of a blend and of its members, without an expected score."""
    labels, annotators = training.keypoints, training.annotators
    predictions = _scored_predictions(fitted)
    constant = predict_mean_face(labels, annotators, folds)
    constant = np.where(fitted.scored[:, None, None], constant, np.nan)
    return Scores(
        complete=metrics.rmse(predictions, labels, annotators == COMPLETE),
        partial=metrics.rmse(predictions, labels, annotators == PARTIAL),
        combined=metrics.combined_rmse(predictions, labels, annotators, query_counts),
        expected=None,
        by_member={},
        reference=metrics.combined_rmse(constant, labels, annotators, query_counts),
        members={
            name: score.rmse for name, score in fitted.scores.items() if score.rmse is not None
        },
        excluded=fitted.blend.excluded,
        own_weights=fitted.blend.member_weights is not None,
    )


def _expected_score(
    run: Run,
    fitted: FittedBlend,
    combined: float | None,
    query_counts: np.ndarray,
    has_test_faces: bool,
) -> tuple[float | None, str]:
    """Return the expected leaderboard score in pixels, or None and the reason why it is unknown.

    ``combined`` is the cross-validated score.
    """
    reason = why_unknown(
        fitted,
        split=run.plan.ensemble.split,
        has_test_faces=has_test_faces,
        has_score=combined is not None,
    )
    if reason:
        return None, reason
    expected = expected_rmse(fitted, query_counts)
    if expected is None or expected < SMALLEST_SHARE * (combined or 0.0):
        return None, "the networks differ more than their errors explain"
    return expected, ""


def _scores_by_recipe(
    by_recipe: Mapping[str, np.ndarray], training: Faces, query_counts: np.ndarray
) -> dict[str, float]:
    """Return the combined RMSE of each recipe's (N, 15, 2) out-of-fold predictions."""
    alone = {
        recipe: metrics.combined_rmse(one, training.keypoints, training.annotators, query_counts)
        for recipe, one in by_recipe.items()
    }
    return {name: value for name, value in alone.items() if value is not None}
