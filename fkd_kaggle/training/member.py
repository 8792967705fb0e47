"""An ensemble: members trained fold by fold, blended out of fold, averaged at prediction.

Conducts ``training``, ``blend`` and the run folder. Knows how time is shared between members and
what to do when it runs out or somebody presses Ctrl-C.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fkd_kaggle.data import dataset, metrics
from fkd_kaggle.data.dataset import count_queries, read_test_if_present
from fkd_kaggle.data.faces import Faces
from fkd_kaggle.recipes.plans import Member
from fkd_kaggle.runs.folder import Run, load_folds
from fkd_kaggle.runs.members import member_progress
from fkd_kaggle.runs.predictions import store_out_of_fold, store_test_predictions
from fkd_kaggle.training import preprocessing, published_metrics
from fkd_kaggle.training.events import MemberEnded, OnEvent
from fkd_kaggle.training.inference import predict_member


@dataclass(frozen=True)
class TrainingData:
    """What the members of a run are trained and scored on, read once."""

    training: Faces
    held_out: np.ndarray
    """(N,) int64: the fold in which each training face is held out."""
    test: tuple[Faces, np.ndarray] | None
    """The test faces and their sources, where there is a test set."""
    query_counts: np.ndarray
    """(2, 15) how many values the lookup table asks for, by source and keypoint."""


def read_training_data(run: Run, data_dir: Path) -> TrainingData:
    """Read what the run's members are trained on; makes its folds on the first call.

    Raises
    ------
    RunError
        The run was made on other data.
    """
    run.check_data(dataset.fingerprint(data_dir))
    training = dataset.read_training(data_dir)
    return TrainingData(
        training,
        load_folds(run, training),
        read_test_if_present(data_dir),
        count_queries(data_dir, training),
    )


def train_member(
    run: Run,
    member: Member,
    material: TrainingData,
    budget: float | None,
    on_event: OnEvent,
    tensorboard: bool = False,
) -> float:
    """Train one member and store its predictions; return the seconds besides the training.

    Raises
    ------
    KeyboardInterrupt
        After the member's checkpoint is written.
    """
    from fkd_kaggle.training import trainer

    began, before = time.monotonic(), member_progress(run, member).seconds
    validation = material.training.take(np.nonzero(material.held_out == member.fold)[0])
    rest = material.training.take(np.nonzero(material.held_out != member.fold)[0])
    prepared = preprocessing.prepare_faces(
        member.recipe, rest, run.plan.ensemble.split, member.seed
    )
    watched = prepared.validation or validation

    def score(predictions: np.ndarray, faces: Faces = watched) -> float:
        value = metrics.combined_rmse(
            predictions, faces.keypoints, faces.annotators, material.query_counts
        )
        return float("nan") if value is None else value

    network, progress = trainer.fit_member(
        member, run.member(member.name), prepared.training, watched, score,
        position=run.plan.members.index(member),
        budget=None if budget is None else budget + before,
        on_event=on_event,
        tensorboard=run.path / "tensorboard" if tensorboard else None,
    )  # fmt: skip
    predictions = predict_member(network, member, validation, validation.annotators)
    if prepared.copies is not None:
        unseen = preprocessing.augment_offline(validation, member.recipe, member.seed)
        for name, copies in (("copies", prepared.copies), ("unseen_copies", unseen)):
            answers = predict_member(network, member, copies, copies.annotators)
            published_metrics.store_published_metrics(run, member, name, answers, copies.keypoints)
    store_out_of_fold(run, member, validation.ids, predictions)
    if material.test is not None:
        # Now, while the network is compiled: `predict` then has nothing left to compute.
        store_test_predictions(
            run, member, *material.test, predict_member(network, member, *material.test)
        )
    seconds = time.monotonic() - began
    on_event(MemberEnded(member.name, score(predictions, validation), seconds, progress.stopped))
    return seconds - (progress.seconds - before)
