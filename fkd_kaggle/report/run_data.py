"""Data of a run's report: one JSON value and a few arrays, computed from a run folder.

Nothing is drawn here. ``report.run`` puts the data on a page; report.json in the run's folder has
the JSON value without the faces. Numbers are pixels unless a name says otherwise.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from fkd_kaggle.data import dataset, folds, metrics, submission
from fkd_kaggle.data.corrections import Correction, count_actions
from fkd_kaggle.data.faces import Faces
from fkd_kaggle.errors import RunError
from fkd_kaggle.keypoints import ANNOTATORS, KEYPOINT_NAMES, NUM_KEYPOINTS
from fkd_kaggle.recipes.loading import to_toml
from fkd_kaggle.recipes.plans import Member
from fkd_kaggle.report import bootstrap, calibration, label_review, member_value
from fkd_kaggle.report.bootstrap import GroupErrors, Interval
from fkd_kaggle.report.label_review import LabelEvidence
from fkd_kaggle.runs.corrections import load_run_corrections
from fkd_kaggle.runs.folder import Run
from fkd_kaggle.runs.history import read_histories
from fkd_kaggle.runs.members import member_progress
from fkd_kaggle.runs.predictions import (
    has_out_of_fold,
    load_flip_disagreement,
    load_out_of_fold,
    load_scored_out_of_fold,
)
from fkd_kaggle.runs.scores import score_notes
from fkd_kaggle.runs.sessions import read_sessions

FORMAT: Final = 1
"""Version of the data's layout."""


@dataclass(frozen=True)
class RunData:
    """What a report shows."""

    summary: dict[str, Any]
    """JSON values."""
    training: Faces
    """All N training faces with the labels of training.csv."""
    predictors: Mapping[str, np.ndarray]
    """(N, 15, 2) out-of-fold predictions by name; the first is the blend, with NaN for faces on
    which the run is not scored."""
    evidence: LabelEvidence
    groups: np.ndarray
    """(N,) group numbers, equal for near-duplicates."""
    disagreement: np.ndarray
    """(N,) flip disagreement; NaN where unknown."""
    spread: np.ndarray
    """(N,) spread of the members; NaN where unknown."""
    corrections: tuple[Correction, ...]
    """Corrections that the run was trained with."""


def collect_run_data(run: Run, data_dir: Path, submissions_dir: Path | None = None) -> RunData:
    """Compute the data of a run's report.

    Parameters
    ----------
    run
        A blended run.
    data_dir
        Folder of the data set that the run was trained on.
    submissions_dir
        Folder of the submission files, whose scores are shown; None for none.

    Raises
    ------
    DataError
        training.csv is missing or invalid.
    RunError
        The run was made on another data set, or was not blended.
    """
    run.check_data(dataset.fingerprint(data_dir))
    training = dataset.read_training(data_dir)
    blend = load_scored_out_of_fold(run)
    if blend.shape != training.keypoints.shape:
        raise RunError(f"{run.path / 'out_of_fold.npz'} is damaged (shape {blend.shape})")
    members = [member for member in run.plan.members if has_out_of_fold(run, member)]
    alone = member_predictions(run, members, len(training.images))
    groups = folds.near_duplicate_groups(training)
    queries = dataset.count_queries(data_dir, training)
    disagreement = load_flip_disagreement(run, members, len(training.images))
    evidence = label_review.weigh_labels(training, blend, disagreement)
    reviewed = label_review.list_suspicious_labels(training, evidence)
    # The mean of several seeds is no further network.
    networks = [each for name, each in alone.items() if len(_seeds(members, name)) < 2]
    spread = calibration.member_spread(networks)
    found = load_run_corrections(run, training)
    predictors = {"blend": blend, **alone}
    summary = {
        "format": FORMAT,
        "run": describe_run(run),
        "keypoints": list(KEYPOINT_NAMES),
        "annotators": list(ANNOTATORS),
        "counts": count_faces(training, blend),
        "scores": score_intervals(blend, training, groups, queries, run),
        "submissions": list_run_submissions(run, submissions_dir),
        "references": reference_scores(training, blend, queries),
        "errors": [
            entry
            for name, predictions in predictors.items()
            for entry in keypoint_errors(name, predictions, training, groups)
        ],
        "members": [describe_member(run, member, training, groups, queries) for member in members],
        "value": member_value.measure_members(run, data_dir, members, training, queries),
        "curves": learning_curves(run),
        "calibration": calibration.measure_calibration(
            blend,
            training,
            {"flip disagreement": disagreement, "spread of the networks": spread},
            groups,
        ),
        "review": describe_reviewed(training, groups, evidence, reviewed, found),
        "review_statement": label_review.describe_review(reviewed),
        "corrections": count_actions(found) if found else None,
        "sessions": [asdict(session) for session in read_sessions(run)],
        "recipes": [
            {"name": line.recipe.name, "digest": line.recipe.digest, "text": to_toml(line.recipe)}
            for line in run.plan.ensemble.members
        ],
        "comparisons": [],
    }
    return RunData(
        to_json(summary), training, predictors, evidence, groups, disagreement, spread, found
    )


def member_predictions(run: Run, members: Sequence[Member], count: int) -> dict[str, np.ndarray]:
    """Return (N, 15, 2) out-of-fold predictions of each recipe, and of each of its seeds.

    A face is held out in one fold only, so that the predictions of a recipe come from the network
    of that fold.

    Parameters
    ----------
    run
        The run.
    members
        Members whose predictions are stored.
    count
        Number of training faces N.
    """
    found = {}
    for recipe in dict.fromkeys(member.recipe.name for member in members):
        own = [member for member in members if member.recipe.name == recipe]
        found[recipe] = load_out_of_fold(run, own, recipe, count)
        seeds = _seeds(own, recipe)
        for seed in seeds if len(seeds) > 1 else ():
            chosen = [member for member in own if _seed_of(member) == seed]
            found[f"{recipe}, seed {seed}"] = load_out_of_fold(run, chosen, recipe, count)
    return found


def describe_run(run: Run) -> dict[str, Any]:
    """Return what identifies a run and how it was planned."""
    plan, ensemble = run.plan, run.plan.ensemble
    return {
        "name": run.name,
        "status": run.status,
        "created": run.created,
        "data": run.data,
        "ensemble": ensemble.name,
        "blend": ensemble.blend,
        "folds": ensemble.folds,
        "trained_folds": ensemble.trained_folds or ensemble.folds,
        "split": ensemble.split,
        "seed": plan.seed,
        "precision": plan.precision,
        "time_limit": plan.time_limit,
        "seconds": sum(member_progress(run, member).seconds for member in plan.members),
    }


def count_faces(training: Faces, blend: np.ndarray) -> dict[str, Any]:
    """Return numbers of faces and labels."""
    predicted = np.isfinite(blend[..., 0]).any(1)
    annotators = training.annotators
    return {
        "faces": len(training.images),
        "predicted": int(predicted.sum()),
        "labels": int(np.isfinite(training.keypoints[..., 0]).sum()),
        "by_annotator": [
            {
                "annotator": name,
                "faces": int((annotators == code).sum()),
                "predicted": int((predicted & (annotators == code)).sum()),
            }
            for code, name in enumerate(ANNOTATORS)
        ],
    }


def score_intervals(
    blend: np.ndarray, training: Faces, groups: np.ndarray, queries: np.ndarray, run: Run
) -> dict[str, Any]:
    """Return the cross-validated scores with intervals, and the expected score."""
    errors = squared_errors(blend, training, groups)
    complete, partial, difference = bootstrap.intervals(errors, bootstrap.rmse_by_annotator)
    (combined,) = bootstrap.intervals(errors, bootstrap.combined_rmse(queries))
    scores = run.scores
    return {
        "combined": asdict(combined),
        "complete": asdict(complete),
        "partial": asdict(partial),
        "difference": asdict(difference),
        "expected": scores.expected if scores else None,
        "notes": score_notes(scores) if scores else [],
        "by_member": dict(scores.by_member) if scores else {},
    }


def squared_errors(predictions: np.ndarray, training: Faces, groups: np.ndarray) -> GroupErrors:
    """Return squared errors of (N, 15, 2) predictions, summed over the groups they cover."""
    squares = np.square(predictions.astype(np.float64) - training.keypoints)
    covered = np.isfinite(squares).any((1, 2))
    return GroupErrors.of(squares[covered], training.annotators[covered], groups[covered])


def keypoint_errors(
    name: str, predictions: np.ndarray, training: Faces, groups: np.ndarray
) -> list[dict[str, Any]]:
    """Return the RMSE of each annotator and keypoint with its interval and number of labels."""
    errors = squared_errors(predictions, training, groups)
    found = bootstrap.intervals(errors, bootstrap.rmse_by_keypoint)
    counts = errors.counts.sum(0).reshape(-1) / 2
    return [
        {
            "predictor": name,
            "annotator": ANNOTATORS[index // NUM_KEYPOINTS],
            "keypoint": KEYPOINT_NAMES[index % NUM_KEYPOINTS],
            "labels": int(count),
            **asdict(interval),
        }
        for index, (interval, count) in enumerate(zip(found, counts.tolist(), strict=True))
        if count
    ]


def reference_scores(
    training: Faces, blend: np.ndarray, queries: np.ndarray
) -> list[dict[str, Any]]:
    """Return the RMSE of predictors without learning, on the faces that the run is scored on."""
    labels, annotators = training.keypoints, training.annotators
    rows = np.isfinite(blend[..., 0]).any(1)
    overall = metrics.masked_means(labels, 0)
    by_annotator = np.stack(
        [metrics.masked_means(labels[annotators == code], 0, overall) for code in (0, 1)]
    )
    constant = {
        "column means": np.broadcast_to(overall, labels.shape),
        "mean face of each annotator": by_annotator[annotators],
    }
    return [
        {
            "name": name,
            "combined": metrics.combined_rmse(guess[rows], labels[rows], annotators[rows], queries),
            **{
                annotator: metrics.rmse(guess, labels, rows & (annotators == code))
                for code, annotator in enumerate(ANNOTATORS)
            },
        }
        for name, guess in constant.items()
    ]


def list_run_submissions(run: Run, submissions_dir: Path | None) -> list[dict[str, Any]]:
    """Return the submissions that were made with a run, newest first."""
    if submissions_dir is None or not submissions_dir.is_dir():
        return []
    return [
        {
            "file": one.path.name,
            "created": one.created.isoformat(timespec="seconds") if one.created else None,
            "expected": one.expected,
            "public": one.public_score,
            "private": one.private_score,
        }
        for one in submission.list_submissions(submissions_dir)
        if one.run == run.name
    ]


def describe_member(
    run: Run, member: Member, training: Faces, groups: np.ndarray, queries: np.ndarray
) -> dict[str, Any]:
    """Return how a member was trained, and its score on its held-out faces with an interval."""
    progress = member_progress(run, member)
    alone = load_out_of_fold(run, [member], member.recipe.name, len(training.images))
    errors = squared_errors(alone, training, groups)
    (score,) = bootstrap.intervals(errors, bootstrap.combined_rmse(queries))
    return {
        "name": member.name,
        "recipe": member.recipe.name,
        "fold": member.fold,
        "seed": member.seed,
        "epochs": progress.epoch,
        "planned_epochs": run.plan.most_epochs(member),
        "best_epoch": progress.best_epoch,
        "seconds": progress.seconds,
        "stopped": progress.stopped,
        "faces": int(np.isfinite(alone[..., 0]).any(1).sum()),
        "rmse": score.value,
        "low": score.low,
        "high": score.high,
    }


def learning_curves(run: Run) -> list[dict[str, Any]]:
    """Return one entry for each member and epoch: epoch, seconds, loss and RMSE if validated."""
    recipes = {member.name: member.recipe.name for member in run.plan.members}
    return [
        {
            "member": name,
            "recipe": recipes.get(name, name),
            "epoch": epoch,
            "seconds": seconds,
            "loss": loss,
            "rmse": rmse,
        }
        for name, history in read_histories(run).items()
        for epoch, seconds, loss, rmse in zip(
            history["epoch"].tolist(),
            history["seconds"].tolist(),
            history["loss"].tolist(),
            history["rmse"].tolist(),
            strict=True,
        )
    ]


def describe_reviewed(
    training: Faces,
    groups: np.ndarray,
    evidence: LabelEvidence,
    reviewed: Sequence[label_review.ReviewedLabel],
    corrections: Sequence[Correction],
) -> list[dict[str, Any]]:
    """Return the labels to review with all positions and the rows of near-duplicates.

    "corrected" is how the run's corrections change the label; None if they do not.
    """
    corrected = {(one.row, one.keypoint): one.action for one in corrections}
    similar = label_review.near_duplicates(training, groups, [one.position for one in reviewed])
    return [
        {
            "row": one.position + 1,
            "keypoint": KEYPOINT_NAMES[one.keypoint],
            "annotator": ANNOTATORS[training.annotators[one.position]],
            "label": training.keypoints[one.position, one.keypoint].tolist(),
            "prediction": evidence.predictions[one.position, one.keypoint].tolist(),
            "expected": evidence.expected[one.position, one.keypoint].tolist(),
            "shape": one.shape,
            "model": one.model,
            "verdict": one.verdict,
            "corrected": corrected.get((one.position + 1, one.keypoint)),
            "duplicates": [row + 1 for row in similar.get(one.position, [])],
        }
        for one in reviewed
    ]


def _seeds(members: Sequence[Member], recipe: str) -> list[int]:
    """Return the sorted numbers of the seeds of a recipe's members."""
    return sorted({_seed_of(member) for member in members if member.recipe.name == recipe})


def _seed_of(member: Member) -> int:
    """Return the number of a member's seed within its recipe, the end of its name."""
    found = re.search(r"-s(\d+)$", member.name)
    return int(found[1]) if found else 0


def to_json(value: Any) -> Any:
    """Return a value with plain JSON types: NaN becomes None, floats get at most 5 decimals."""
    if isinstance(value, Mapping):
        return {str(key): to_json(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(one) for one in value]
    if isinstance(value, Interval):
        return to_json(asdict(value))
    if isinstance(value, float | np.floating):
        number = float(value)
        return round(number, 5) if math.isfinite(number) else None
    if isinstance(value, np.integer):
        return int(value)
    return value
