"""Training one member: loss, schedule, callbacks, checkpoints.

Runs on any Keras backend through ``fit``; knows nothing of folds, blends or files other than the
member's own folder, and prints nothing: it tells ``on_event`` what happens.
"""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from fkd_kaggle import files, models
from fkd_kaggle.data.faces import Faces
from fkd_kaggle.nn import backend
from fkd_kaggle.recipes.plans import Member
from fkd_kaggle.runs.history import HISTORY
from fkd_kaggle.runs.members import Progress, read_progress
from fkd_kaggle.training import forward
from fkd_kaggle.training.events import EpochEnded, MemberStarted, OnEvent, StepEnded
from fkd_kaggle.training.keras_fit import BestWeights, fit
from fkd_kaggle.training.learner import Learner, compile_learner, make_learner, shuffled_batches
from fkd_kaggle.training.network import flip_averaging_order, load_weights, to_keypoints

_CHECKPOINT_SECONDS = 30.0

RANDOM_PATIENCE = 5
"""How much longer to wait for a better epoch where trained first weights could not be had."""


def fit_member(
    member: Member,
    folder: Path,
    training: Faces,
    validation: Faces,
    score: Callable[[np.ndarray], float],
    *,
    position: int = 0,
    budget: float | None = None,
    on_event: OnEvent,
    tensorboard: Path | None = None,
) -> tuple[keras.Model, Progress]:
    """Train a member, or go on where its folder's checkpoint stopped.

    Parameters
    ----------
    folder
        Gets ``history.csv``, ``progress.json``, ``checkpoint.npz`` and ``best.weights.h5``.
    training, validation
        Faces to learn from, and held-out faces to choose weights by.
    score
        Maps (N, 15, 2) predictions for the validation faces to one RMSE in pixels.
    budget
        Seconds this member may take in all, earlier calls included. The schedule is stretched
        over whichever ends first, the recipe's epochs or the budget.

    Returns
    -------
    The network with the weights to use, and how training went.

    Raises
    ------
    KeyboardInterrupt
        After the checkpoint is written; what was trained so far is in the folder.
    """
    keras.utils.set_random_seed(member.seed)
    learner = make_learner(member, training)
    network = learner.network
    first = models.initialize_weights(member.recipe.architecture, network, member.recipe.options)
    steps = max(1, len(training.images) // member.recipe.batch_size)
    session = _Session(learner, member, folder, validation, score, budget, on_event, steps)
    if first.random:
        session.weights.patience *= RANDOM_PATIENCE
    session.restore()
    on_event(
        MemberStarted(
            member.name, member.recipe.name, member.fold, position, network.count_params(),
            len(training.images), len(validation.images), session.progress.epoch, first.about,
        )
    )  # fmt: skip
    callbacks: list[keras.callbacks.Callback] = [session]
    if tensorboard is not None:
        callbacks.append(
            keras.callbacks.TensorBoard(str(tensorboard / member.name), write_graph=False)
        )
    if not session.progress.stopped:
        try:
            _fit(learner, session, training, callbacks)
        except KeyboardInterrupt:
            session.interrupted()
            raise
        session.finish()
    load_weights(network, folder)
    return network, session.progress


def _fit(
    learner: Learner,
    session: _Session,
    training: Faces,
    callbacks: list[keras.callbacks.Callback],
) -> None:
    """Train from the session's epoch on."""
    first_epoch = session.progress.epoch

    def arguments() -> dict[str, Any]:
        return {
            "x": shuffled_batches(training, session.recipe, session.member.seed + first_epoch),
            "steps_per_epoch": session.steps,
            "epochs": session.recipe.epochs,
            "initial_epoch": first_epoch,
            "shuffle": False,
        }

    fit(
        learner,
        arguments,
        callbacks,
        recompile=lambda: compile_learner(learner, learner.optimizer),
    )


class _Session(keras.callbacks.Callback):
    """One ``fit`` of one member: schedule, validation, checkpoints, time and what is told."""

    def __init__(
        self,
        learner: Learner,
        member: Member,
        folder: Path,
        validation: Faces,
        score: Callable[[np.ndarray], float],
        budget: float | None,
        on_event: OnEvent,
        steps: int,
    ) -> None:
        super().__init__()
        self.steps = steps
        self.learner, self.member, self.folder = learner, member, folder
        self.recipe = member.recipe
        self.validation, self.score = validation, score
        self.budget, self.on_event = budget, on_event
        self.progress = Progress()
        self.history: list[dict[str, Any]] = []
        self.flip = flip_averaging_order(member.recipe)
        # A cosine ends on its best weights by design; choosing among epochs would flatter.
        self.keeps_last = self.recipe.schedule == "cosine" or (
            self.recipe.schedule == "constant" and not self.recipe.patience
        )
        self.weights = BestWeights(
            learner.network,
            folder / "best.weights.h5",
            patience=member.recipe.patience,
            keep_last=self.keeps_last,
        )
        self.reduction = 1.0
        self.out_of_time = False
        self.started = self.told = self.saved = time.monotonic()
        self.epoch_started, self.step = self.started, 0

    @property
    def seconds(self) -> float:
        return self.progress.seconds + time.monotonic() - self.started

    def done(self, epochs: float) -> float:
        """Return the share of training behind us, 0 to 1, by epochs or by time."""
        share = epochs / self.recipe.epochs
        if self.budget:
            share = max(share, self.seconds / self.budget)
        return min(share, 1.0)

    def restore(self) -> None:
        """Load the checkpoint, if there is a whole one."""
        progress = read_progress(self.folder)
        if not progress.epoch:
            return
        with backend.distribution_scope():
            self.learner.optimizer.build(self.learner.network.trainable_variables)
        variables = self._variables()
        try:
            with np.load(self.folder / "checkpoint.npz") as kept:
                values = [kept[f"v{index}"] for index in range(len(kept.files) - 1)]
                epoch = int(kept["epoch"])
        except (OSError, ValueError, KeyError):
            return
        # All or nothing: another version's, or another number of devices', may have other shapes.
        shapes = [tuple(variable.shape) for variable in variables]
        if epoch != progress.epoch or [value.shape for value in values] != shapes:
            return
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        self.progress = progress
        self.weights.best = progress.best_rmse
        self.reduction = progress.learning_rate / self.recipe.learning_rate or 1.0
        with (self.folder / "history.csv").open(encoding="utf-8", newline="") as stream:
            self.history = list(csv.DictReader(stream))[: progress.epoch]

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch_started, self.step = time.monotonic(), 0
        rate = self._kept_rate()
        if self.recipe.schedule == "cosine":
            # Aimed at the epoch's middle, so that the last one is not trained at zero.
            middle = self.done(epoch + 0.5)
            rate = self.recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * middle))
            if epoch == 0:
                rate *= 0.3  # a gentle first epoch stands in for a warm-up
        self.rate = rate
        self.learner.optimizer.learning_rate = rate

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.step = batch + 1  # several steps on, where several are executed at once
        now = time.monotonic()
        if self.budget and self.seconds >= self.budget:
            self.out_of_time = self.learner.stop_training = True
        if now - self.told < 0.5:
            return
        self.told = now
        speed = self.step * self.recipe.batch_size / (now - self.epoch_started)
        self.on_event(
            StepEnded(
                self.member.name, self.progress.epoch + 1, self.step, self.steps,
                float((logs or {}).get("loss", math.nan)), speed,
                self._left(self.progress.epoch + self.step / self.steps),
            )
        )  # fmt: skip

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        taken = time.monotonic() - self.epoch_started
        last = self.learner.stop_training or epoch + 1 >= self.recipe.epochs
        rmse = None
        if last or self._validate_now(epoch):
            points = forward.predict_points(self.learner.network, self.validation.images, self.flip)
            rmse = self.score(to_keypoints(points, self.recipe, self.validation.annotators))
        loss = float((logs or {}).get("loss", math.nan))
        better = self.weights.update(rmse)
        waited = self.weights.epochs_since
        if self.recipe.schedule == "plateau" and waited and waited % 5 == 0:
            self.reduction = max(self.reduction * 0.5, 1e-3)
        speed = self.step * self.recipe.batch_size / max(taken, 1e-6)
        self.progress = Progress(
            epoch + 1, self.seconds, self.weights.best,
            epoch + 1 if better else self.progress.best_epoch, self._kept_rate(),
        )  # fmt: skip
        self.started = time.monotonic()
        images = self.step * self.recipe.batch_size
        if self.history:
            images += int(self.history[-1].get("images") or 0)
        self.history.append(
            dict(zip(HISTORY, (epoch + 1, loss, rmse, self.rate, round(speed, 1),
                               round(self.progress.seconds, 2), images), strict=True))
        )  # fmt: skip
        if self.weights.is_exhausted:
            self.learner.stop_training = True
            self.progress = replace(self.progress, stopped="early stopping")
        if last or time.monotonic() - self.saved > _CHECKPOINT_SECONDS:
            self.save()
        self.on_event(
            EpochEnded(
                self.member.name, epoch + 1, self.recipe.epochs, loss, rmse,
                self.progress.best_rmse, self.rate, speed, taken, self._left(epoch + 1),
            )
        )  # fmt: skip

    def save(self) -> None:
        """Write the checkpoint, then the note that says it is whole."""
        values = {f"v{i}": ops.convert_to_numpy(v) for i, v in enumerate(self._variables())}
        with files.atomic_path(self.folder / "checkpoint.npz") as path:
            np.savez(path, epoch=self.progress.epoch, **values)
        rows = [[row.get(name) for name in HISTORY] for row in self.history]
        files.write_csv(self.folder / "history.csv", HISTORY, rows)
        files.write_json(self.folder / "progress.json", asdict(self.progress))
        self.saved = time.monotonic()

    def interrupted(self) -> None:
        """Keep what the whole epochs before the interruption reached, to use or to go on from."""
        if self.progress.epoch:
            if not self.weights.path.exists():
                self.weights.save()
            self.save()

    def finish(self) -> None:
        """Say why training ended and drop what only a resumption needs."""
        why = self.progress.stopped or ("time limit" if self.out_of_time else "finished")
        self.progress = replace(self.progress, stopped=why)
        files.write_json(self.folder / "progress.json", asdict(self.progress))
        (self.folder / "checkpoint.npz").unlink(missing_ok=True)

    def _validate_now(self, epoch: int) -> bool:
        """Say whether to look at the held-out faces; now and then where nothing hangs on it."""
        return not self.keeps_last or bool(self.recipe.patience) or epoch % 5 == 4

    def _kept_rate(self) -> float:
        return self.recipe.learning_rate * self.reduction

    def _left(self, epochs: float) -> float:
        done = self.done(epochs)
        return self.seconds * (1 - done) / done if done > 0 else math.nan

    def _variables(self) -> list[Any]:
        optimizer = self.learner.optimizer
        return [*self.learner.network.variables, *optimizer.variables, self.learner.view_seed.state]
