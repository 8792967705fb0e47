"""Trains one member: schedule, validation, checkpoints, time budget and progress events.

Uses Keras' ``fit`` on any backend. This module does not handle folds or blends and does not print.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from fkd_kaggle import models
from fkd_kaggle.data.faces import Faces
from fkd_kaggle.errors import RecipeError, RunError
from fkd_kaggle.recipes.plans import Member
from fkd_kaggle.recipes.schema import Recipe
from fkd_kaggle.runs.history import HISTORY
from fkd_kaggle.runs.members import (
    Progress,
    delete_checkpoint,
    read_progress,
    weights_path,
    write_progress,
)
from fkd_kaggle.training.checkpoint import restore_checkpoint, save_checkpoint
from fkd_kaggle.training.events import EpochEnded, MemberStarted, OnEvent, StepEnded
from fkd_kaggle.training.inference import predict_keypoints
from fkd_kaggle.training.keras_fit import BestWeights, fit
from fkd_kaggle.training.learner import Learner, compile_learner, make_learner, shuffled_batches
from fkd_kaggle.training.network import load_weights
from fkd_kaggle.training.schedules import Schedule, TailEstimate, TimeBudget

RANDOM_PATIENCE = 5
"""Factor on the patience if a pretrained architecture starts from random weights."""

_CHECKPOINT_SECONDS = 30.0
"""Minimum seconds between two checkpoints."""

_EVENT_SECONDS = 0.5
"""Minimum seconds between two ``StepEnded`` events."""


def fit_member(
    member: Member,
    folder: Path,
    training: Faces,
    validation: Faces,
    score: Callable[[np.ndarray], float],
    *,
    position: int = 0,
    budget: float | None = None,
    deadline: float | None = None,
    faces_after: int = 0,
    on_event: OnEvent,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    clock: Callable[[], float] = time.monotonic,
) -> tuple[keras.Model, Progress]:
    """Train a member, or resume from the checkpoint in its folder.

    Parameters
    ----------
    member
        Recipe and seed.
    folder
        The member's folder: history, progress, checkpoint and best weights are written there.
    training, validation
        Faces to train on, and held-out faces that select the weights.
    score
        Maps (N, 15, 2) predictions for the validation faces to an RMSE in pixels.
    position
        Position of the member in the ensemble, for events.
    budget
        Seconds for the training of this member, earlier calls included; None for no limit. The
        schedule covers the recipe's epochs or the budget, whichever ends first. With a budget or
        a deadline, a recipe with ``extended_epochs`` can train for that many epochs.
    deadline
        Time, by ``clock``, at which the predictions that follow the training must be stored; None
        for no limit. Training ends earlier, by the measured time of these predictions.
    faces_after
        Number of faces that are predicted after the training.
    on_event
        Called with ``MemberStarted``, ``StepEnded`` and ``EpochEnded``.
    callbacks
        Further callbacks for Keras' ``fit``.
    clock
        Returns the time in seconds.

    Returns
    -------
    network
        The network with the selected weights.
    progress
        Epochs, seconds, best score and the reason why training ended.

    Raises
    ------
    RecipeError
        The network cannot be built, its first weights are not available, or the training diverged
        before its first validation.
    KeyboardInterrupt
        Training was interrupted; the checkpoint is written.
    """
    keras.utils.set_random_seed(member.seed)
    learner = make_learner(member, training)
    network = learner.network
    initial, failure = _initialize(network, member.recipe)
    steps = max(1, len(training.images) // member.recipe.batch_size)

    validate = _validator(network, member, validation, score)
    epochs = member.recipe.most_epochs(is_limited=budget is not None or deadline is not None)
    time_budget = TimeBudget(epochs, budget, clock, deadline)
    tail = TailEstimate(len(validation.images), faces_after)
    session = _Session(learner, member, folder, validate, steps, time_budget, tail, on_event, clock)
    if initial.random:
        session.weights.patience *= RANDOM_PATIENCE
    session.restore()
    if failure is not None and not session.progress.epoch:
        raise failure
    session.report_start(position, training, validation, initial.description)
    if not session.progress.stopped:
        _fit(learner, session, training, callbacks)
    load_weights(network, folder)
    return network, session.progress


def _initialize(
    network: keras.Model, recipe: Recipe
) -> tuple[models.InitialWeights, RecipeError | None]:
    """Load the first weights; return their source, and the error if they are not available.

    A training that is resumed from its checkpoint does not need them. They are loaded all the same,
    because the patience depends on whether they were random; weights that a recipe names never are.
    """
    try:
        initial = models.initialize_weights(
            recipe.architecture, network, recipe.options, recipe.code
        )
    except RecipeError as error:
        return models.InitialWeights(), error
    return initial, None


def _validator(
    network: keras.Model,
    member: Member,
    validation: Faces,
    score: Callable[[np.ndarray], float],
) -> Callable[[], float | None]:
    """Return a function that predicts the validation faces and returns their score.

    The function returns infinity for invalid predictions and None for faces without labels.
    """
    labelled = bool(np.isfinite(validation.keypoints).any())

    def validate() -> float | None:
        # Predictions of a network that has diverged can be too large to be squared.
        with np.errstate(over="ignore", invalid="ignore"):
            points = predict_keypoints(
                network, member.recipe, validation.images, validation.annotators, crop_search=False
            )
            value = score(points)
        # Without labels there is no score, but NaN predictions have one: infinity.
        return (value if math.isfinite(value) else math.inf) if labelled else None

    return validate


def _fit(
    learner: Learner,
    session: _Session,
    training: Faces,
    callbacks: Sequence[keras.callbacks.Callback],
) -> None:
    """Train from the session's epoch on; save the session when it ends or is interrupted."""
    first_epoch = session.progress.epoch

    def arguments() -> dict[str, Any]:
        return {
            "x": shuffled_batches(training, session.recipe, session.member.seed + first_epoch),
            "steps_per_epoch": session.steps,
            "epochs": session.budget.epochs,
            "initial_epoch": first_epoch,
            "shuffle": False,
        }

    try:
        fit(
            learner,
            arguments,
            [session, *callbacks],
            recompile=lambda: compile_learner(learner, learner.optimizer),
        )
    except KeyboardInterrupt:
        session.save_interrupted()
        raise
    session.finish()


class _Session(keras.callbacks.Callback):
    """The callback of one ``fit``: sets the rate, validates, saves, stops and sends events."""

    def __init__(
        self,
        learner: Learner,
        member: Member,
        folder: Path,
        validate: Callable[[], float | None],
        steps: int,
        budget: TimeBudget,
        tail: TailEstimate,
        on_event: OnEvent,
        clock: Callable[[], float],
    ) -> None:
        super().__init__()
        self.learner, self.member, self.folder = learner, member, folder
        self.recipe = member.recipe
        self.validate, self.steps, self.on_event, self.clock = validate, steps, on_event, clock
        self.schedule = Schedule(member.recipe)
        self.budget, self.tail = budget, tail
        self.weights = BestWeights(
            learner.network,
            weights_path(folder),
            patience=member.recipe.patience,
            keep_last=self.schedule.keeps_last,
        )
        self.progress = Progress()
        self.history: list[dict[str, Any]] = []
        self.out_of_time = self.diverged = False
        self.saved_at = self.reported_at = self.epoch_started = self.step_ended = clock()
        self.step, self.rate = 0, 0.0

    def restore(self) -> None:
        """Resume from the checkpoint if a complete checkpoint exists.

        A training that has ended is not repeated if only its predictions are missing.
        """
        stored = read_progress(self.folder)
        if stored.stopped and self._has_weights():
            self.progress = stored
            delete_checkpoint(self.folder)
            return
        restored = restore_checkpoint(self.learner, self.folder)
        if restored is None:
            return
        self.progress, self.history = restored
        self.budget.resume(self.progress.seconds)
        self.weights.best = self.progress.best_rmse
        self.weights.epochs_since = self.progress.epoch - self.progress.best_epoch
        self.schedule.resume(self.progress.learning_rate)

    def _has_weights(self) -> bool:
        """Return whether the stored weights can be loaded into the network, and load them."""
        try:
            load_weights(self.learner.network, self.folder)
        except RunError:
            return False  # train again
        return True

    def report_start(
        self, position: int, training: Faces, validation: Faces, initial_weights: str
    ) -> None:
        """Send ``MemberStarted``."""
        self.on_event(
            MemberStarted(
                member=self.member.name,
                recipe=self.recipe.name,
                fold=self.member.fold,
                position=position,
                parameters=self.learner.network.count_params(),
                training_faces=len(training.images),
                validation_faces=len(validation.images),
                resumed_epoch=self.progress.epoch,
                note=initial_weights,
            )
        )

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Set the learning rate."""
        self.epoch_started = self.step_ended = self.clock()
        self.step = 0
        self.rate = self.schedule.rate(epoch, self.budget.fraction(epoch + 0.5))
        self.learner.optimizer.learning_rate = self.rate

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Stop at the time limit and report the step."""
        now = self.clock()
        steps, self.step = self.step, batch + 1  # more than 1 with several steps per execution
        self.tail.add_step(now - self.step_ended, (self.step - steps) * self.recipe.batch_size)
        self.step_ended = now
        self.budget.tail = self.tail.seconds
        if self.budget.is_exhausted:
            self.out_of_time = self.learner.stop_training = True
        if not math.isfinite(_loss(logs)):
            self.diverged = self.learner.stop_training = True
        if now - self.reported_at < _EVENT_SECONDS:
            return
        self.reported_at = now
        self.on_event(
            StepEnded(
                member=self.member.name,
                epoch=self.progress.epoch + 1,
                step=self.step,
                steps=self.steps,
                loss=_loss(logs),
                images_per_second=self._images() / (now - self.epoch_started),
                seconds_left=self.budget.seconds_left(self.progress.epoch + self.step / self.steps),
            )
        )

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Validate, keep the better weights, decide whether to stop, save and report."""
        seconds = self.clock() - self.epoch_started
        last = self.learner.stop_training or epoch + 1 >= self.budget.epochs
        rmse = self._validate() if last or self.schedule.validates(epoch) else None
        if self.diverged:
            return
        better = self.weights.update(rmse)
        self.schedule.update(self.weights.epochs_since)
        self.progress = Progress(
            epoch=epoch + 1,
            seconds=self.budget.seconds,
            best_rmse=self.weights.best,
            best_epoch=epoch + 1 if better else self.progress.best_epoch,
            learning_rate=self.schedule.reduced_rate,
        )
        speed = self._images() / max(seconds, 1e-6)
        self._add_history_row(_loss(logs), rmse, speed)
        if self.weights.is_exhausted:
            self.learner.stop_training = True
            self.progress = replace(self.progress, stopped="early stopping")
        if last or self.clock() - self.saved_at > _CHECKPOINT_SECONDS:
            self.save()
        self.on_event(
            EpochEnded(
                member=self.member.name,
                epoch=epoch + 1,
                epochs=self.budget.epochs,
                loss=_loss(logs),
                rmse=rmse,
                best_rmse=self.progress.best_rmse,
                learning_rate=self.rate,
                images_per_second=speed,
                seconds=seconds,
                seconds_left=self.budget.seconds_left(epoch + 1),
            )
        )

    def _validate(self) -> float | None:
        """Return the score of the validation faces; measure the time and note a divergence."""
        if self.diverged:
            return None
        began = self.clock()
        rmse = self.validate()
        self.tail.add_validation(self.clock() - began)
        if rmse is not None and not math.isfinite(rmse):
            self.diverged = self.learner.stop_training = True
        return rmse

    def save(self) -> None:
        """Write the checkpoint."""
        save_checkpoint(self.learner, self.folder, self.progress, self.history)
        self.saved_at = self.clock()

    def save_interrupted(self) -> None:
        """Save the finished epochs, if any, so that they can be used and resumed."""
        if self.progress.epoch:
            if not self.weights.path.exists():
                self.weights.save()
            self.save()

    def finish(self) -> None:
        """Store why training ended and delete the checkpoint.

        Raises
        ------
        RecipeError
            The training diverged, and there are no earlier weights to use.
        """
        if not self.weights.path.exists():
            if self.diverged:
                delete_checkpoint(self.folder)
                raise RecipeError(
                    f"{self.member.name} diverged in epoch {self.progress.epoch + 1}: its loss or "
                    "its predictions are not finite; use a smaller learning_rate or set clip_norm"
                )
            self.weights.save()  # no epoch had a score
        reason = self.progress.stopped or ("time limit" if self.out_of_time else "finished")
        if self.diverged:
            reason = "diverged"
        self.progress = replace(self.progress, stopped=reason)
        write_progress(self.folder, self.progress)
        delete_checkpoint(self.folder)

    def _images(self) -> int:
        """Return the number of images processed so far in the current epoch."""
        return self.step * self.recipe.batch_size

    def _add_history_row(self, loss: float, rmse: float | None, speed: float) -> None:
        images = self._images()
        if self.history:
            images += int(self.history[-1].get("images") or 0)
        values = (
            self.progress.epoch,
            loss,
            rmse,
            self.rate,
            round(speed, 1),
            round(self.progress.seconds, 2),
            images,
        )
        self.history.append(dict(zip(HISTORY, values, strict=True)))


def _loss(logs: Any) -> float:
    return float((logs or {}).get("loss", math.nan))
