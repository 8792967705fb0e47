"""Training a member: files, resuming, time budget, early stopping, XLA, two devices."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from conftest import make_faces
from keras import ops

from fkd_kaggle import models
from fkd_kaggle.data.faces import Faces
from fkd_kaggle.errors import RecipeError
from fkd_kaggle.nn import backend, warp
from fkd_kaggle.recipes.plans import Member
from fkd_kaggle.recipes.schema import Augmentation, Recipe
from fkd_kaggle.runs.history import HISTORY
from fkd_kaggle.runs.members import Progress, read_progress
from fkd_kaggle.training import trainer
from fkd_kaggle.training.events import EpochEnded, Event, MemberStarted, OnEvent, ignore_events
from fkd_kaggle.training.forward import predict_points
from fkd_kaggle.training.network import load_network
from fkd_kaggle.training.outputs import flip_order

pytestmark = pytest.mark.slow

TINY = Recipe(
    "tiny",
    architecture="heatmap",
    options={"width": 8, "depth": 1},
    heatmap_loss=0.5,
    epochs=2,
    batch_size=8,
)


def train(
    recipe: Recipe,
    folder: Path,
    faces: Faces,
    on_event: OnEvent = ignore_events,
    score: Callable[[np.ndarray], float] | None = None,
    **options: Any,
) -> tuple[keras.Model, Progress]:
    """Train a member on faces and validate it on the same faces."""

    def rmse(predictions: np.ndarray) -> float:
        return float(np.sqrt(np.nanmean(np.square(predictions - faces.keypoints))))

    member = Member("tiny-f0", recipe, fold=0, seed=1, share=1.0)
    return trainer.fit_member(
        member, folder, faces, faces, score or rmse, on_event=on_event, **options
    )


@pytest.fixture
def simulated_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile with XLA, as on a GPU, until XLA fails."""
    monkeypatch.setattr(backend, "has_gpu", lambda: True)
    monkeypatch.setattr(backend, "_without_xla", False)


def test_training_reduces_the_loss_and_writes_all_files(tmp_path: Path) -> None:
    faces = make_faces(16, seed=0)
    identity = Augmentation(rotation=0, scale=0, shift=0, flip=0, noise=0)
    recipe = replace(TINY, epochs=30, augmentation=identity, learning_rate=1e-2)
    events: list[Event] = []
    network, progress = train(recipe, tmp_path, faces, events.append)
    assert progress.stopped == "finished"
    assert progress.epoch == 30
    values = [event.loss for event in events if isinstance(event, EpochEnded)]
    assert values[-1] < 0.7 * values[0]
    history = (tmp_path / "history.csv").read_text().splitlines()
    assert history[0] == ",".join(HISTORY)
    assert len(history) == 31
    assert not (tmp_path / "checkpoint.npz").exists()
    loaded = load_network(recipe, tmp_path)
    order = flip_order(recipe)
    np.testing.assert_allclose(
        predict_points(loaded, faces.images, order),
        predict_points(network, faces.images, order),
        atol=1e-4,
    )


REGION = Recipe(
    "eyes", architecture="region", options={"filters": [4], "dense": 4}, epochs=4, batch_size=8
)


@pytest.mark.usefixtures("eager_functions")
def test_a_member_that_diverges_at_once_is_refused(tmp_path: Path) -> None:
    faces = make_faces(16, seed=0)
    with np.errstate(over="ignore"):
        faces = Faces(faces.images, faces.keypoints * 1e38, faces.ids)  # some are infinite
    with pytest.raises(RecipeError, match="diverged in epoch 1"):
        train(replace(REGION, learning_rate=900.0), tmp_path, faces)
    assert not (tmp_path / "checkpoint.npz").exists()
    assert not (tmp_path / "best.weights.h5").exists()


@pytest.mark.usefixtures("eager_functions")
def test_a_member_that_diverges_later_keeps_its_best_weights(tmp_path: Path) -> None:
    scores = iter([2.0, float("nan")])
    recipe = replace(REGION, schedule="plateau")
    _, progress = train(recipe, tmp_path, make_faces(16, seed=0), score=lambda _: next(scores))
    assert (progress.stopped, progress.epoch, progress.best_rmse) == ("diverged", 1, 2.0)


@pytest.mark.usefixtures("eager_functions")
def test_held_out_faces_without_labels_have_no_score(tmp_path: Path) -> None:
    faces = make_faces(16, seed=0)
    unlabelled = Faces(faces.images, np.full_like(faces.keypoints, np.nan), faces.ids)
    member = Member("eyes-f0", REGION, fold=0, seed=1, share=1.0)
    _, progress = trainer.fit_member(
        member, tmp_path, faces, unlabelled, lambda _: float("nan"), on_event=ignore_events
    )
    assert (progress.stopped, progress.epoch, progress.best_rmse) == ("finished", 4, None)
    assert (tmp_path / "best.weights.h5").exists()


@pytest.mark.usefixtures("simulated_gpu")
def test_a_step_that_xla_cannot_compile_is_trained_without_xla(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_xla_kernel(images: Any, matrix: Any) -> Any:
        rows = ops.reshape(matrix, (-1, 6))
        zeros = ops.zeros((ops.shape(matrix)[0], 2))
        return ops.image.affine_transform(images, ops.concatenate([rows, zeros], axis=1))

    monkeypatch.setattr(warp, "warp_images", without_xla_kernel)
    assert backend.uses_xla()
    faces = make_faces(16, seed=0)
    with pytest.warns(UserWarning, match="XLA failed, training goes on without it"):
        _, progress = train(replace(TINY, epochs=2), tmp_path, faces)
    assert (progress.stopped, progress.epoch) == ("finished", 2)
    assert not backend.uses_xla()


@pytest.mark.usefixtures("simulated_gpu")
def test_an_error_that_also_occurs_without_xla_is_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_xla: list[bool] = []

    def broken(images: Any, matrix: Any) -> Any:
        with_xla.append(backend.uses_xla())
        raise ValueError("no such face")

    monkeypatch.setattr(warp, "warp_images", broken)
    with (
        pytest.raises(ValueError, match="no such face"),
        pytest.warns(UserWarning, match="XLA failed"),
    ):
        train(TINY, tmp_path, make_faces(16, seed=0))
    assert with_xla == sorted(with_xla, reverse=True)
    assert set(with_xla) == {True, False}


@pytest.mark.usefixtures("eager_functions")
def test_an_interrupted_member_resumes_from_its_checkpoint(tmp_path: Path) -> None:
    faces = make_faces(16, seed=0)
    recipe = replace(TINY, epochs=6)

    def interrupt(event: Event) -> None:
        if isinstance(event, EpochEnded) and event.epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path, faces, interrupt)
    stored = read_progress(tmp_path)
    assert stored.epoch == 3
    assert not stored.stopped
    assert (tmp_path / "best.weights.h5").exists()
    events: list[Event] = []
    _, progress = train(recipe, tmp_path, faces, events.append)
    started = next(event for event in events if isinstance(event, MemberStarted))
    assert started.resumed_epoch == 3
    assert progress.epoch == 6
    assert len((tmp_path / "history.csv").read_text().splitlines()) == 7


@pytest.mark.usefixtures("eager_functions")
def test_a_training_is_resumed_without_the_file_of_its_first_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(event: Event) -> None:
        if isinstance(event, EpochEnded):
            raise KeyboardInterrupt

    def refuse(*arguments: Any) -> models.InitialWeights:
        raise RecipeError("there is no file w.h5")

    faces = make_faces(16, seed=0)
    with pytest.raises(KeyboardInterrupt):
        train(REGION, tmp_path / "begun", faces, interrupt)
    monkeypatch.setattr(models, "initialize_weights", refuse)
    _, progress = train(REGION, tmp_path / "begun", faces)
    assert (progress.epoch, progress.stopped) == (4, "finished")
    with pytest.raises(RecipeError, match=r"there is no file w\.h5"):
        train(REGION, tmp_path / "new", faces)


@pytest.mark.usefixtures("eager_functions")
def test_a_training_that_has_ended_is_not_repeated(tmp_path: Path) -> None:
    """An interruption of the predictions after the training must not cost the training."""
    faces = make_faces(16, seed=0)
    train(TINY, tmp_path, faces)
    weights = (tmp_path / "best.weights.h5").read_bytes()
    events: list[Event] = []
    _, progress = train(TINY, tmp_path, faces, events.append)
    assert [type(event) for event in events] == [MemberStarted]
    assert (progress.epoch, progress.stopped) == (2, "finished")
    assert (tmp_path / "best.weights.h5").read_bytes() == weights
    (tmp_path / "best.weights.h5").write_bytes(b"damaged")
    train(TINY, tmp_path, faces, events.append)
    assert sum(isinstance(event, EpochEnded) for event in events) == 2


@pytest.mark.usefixtures("eager_functions")
def test_early_stopping_counts_the_epochs_before_an_interruption(tmp_path: Path) -> None:
    scores = iter([4.0, 5.0, 5.0, 5.0, 5.0])
    recipe = replace(TINY, epochs=50, schedule="plateau", patience=3)

    def interrupt(event: Event) -> None:
        if isinstance(event, EpochEnded) and event.epoch == 3:
            raise KeyboardInterrupt

    faces = make_faces(16, seed=0)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path, faces, interrupt, score=lambda _: next(scores))
    _, progress = train(recipe, tmp_path, faces, score=lambda _: next(scores))
    assert (progress.stopped, progress.epoch) == ("early stopping", 4)


@pytest.mark.usefixtures("eager_functions")
def test_a_checkpoint_with_other_shapes_is_ignored(tmp_path: Path) -> None:
    faces = make_faces(16, seed=0)

    def interrupt(event: Event) -> None:
        if isinstance(event, EpochEnded):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(TINY, tmp_path, faces, interrupt)
    events: list[Event] = []
    wider = replace(TINY, options={"width": 12, "depth": 1})
    _, progress = train(wider, tmp_path, faces, events.append)
    started = next(event for event in events if isinstance(event, MemberStarted))
    assert started.resumed_epoch == 0
    assert progress.epoch == 2


@pytest.mark.usefixtures("eager_functions")
def test_training_stops_at_its_time_limit_with_usable_weights(tmp_path: Path) -> None:
    now = [0.0]

    def clock() -> float:
        now[0] += 0.125
        return now[0]

    faces = make_faces(16, seed=0)
    recipe = replace(TINY, epochs=10_000)
    _, progress = train(recipe, tmp_path, faces, budget=8.0, clock=clock)
    assert progress.stopped == "time limit"
    assert 0 < progress.epoch < 30
    assert 8.0 <= progress.seconds < 12.0
    assert (tmp_path / "best.weights.h5").exists()


def step_clock(seconds: float) -> Callable[[], float]:
    """Return a clock on which each call takes ``seconds``."""
    now = [0.0]

    def clock() -> float:
        now[0] += seconds
        return now[0]

    return clock


@pytest.mark.usefixtures("eager_functions")
@pytest.mark.parametrize("limit", ["budget", "deadline"])
def test_a_training_uses_the_time_that_is_left_after_its_epochs(tmp_path: Path, limit: str) -> None:
    faces, events = make_faces(16, seed=0), list[Event]()
    recipe = replace(TINY, epochs=3, extended_epochs=6)
    limits: dict[str, Any] = {limit: 1000.0}
    _, progress = train(recipe, tmp_path, faces, events.append, clock=step_clock(0.125), **limits)
    assert (progress.epoch, progress.stopped) == (6, "finished")
    ended = [event for event in events if isinstance(event, EpochEnded)]
    assert {event.epochs for event in ended} == {6}
    # The cosine ends with the sixth epoch: in the middle of epoch e it is at (e + 0.5) / 6.
    rates = [event.learning_rate / recipe.learning_rate for event in ended]
    expected = [0.5 * (1 + np.cos(np.pi * (epoch + 0.5) / 6)) for epoch in range(6)]
    np.testing.assert_allclose(rates[1:], expected[1:], rtol=1e-5)


@pytest.mark.usefixtures("eager_functions")
def test_extended_epochs_end_at_the_time_limit_with_a_small_learning_rate(tmp_path: Path) -> None:
    faces, events = make_faces(16, seed=0), list[Event]()
    recipe = replace(TINY, epochs=3, extended_epochs=10_000)
    _, progress = train(
        recipe, tmp_path, faces, events.append, clock=step_clock(0.125), budget=20.0
    )
    assert progress.stopped == "time limit"
    assert 3 < progress.epoch < 100
    rates = [event.learning_rate for event in events if isinstance(event, EpochEnded)]
    assert rates[-1] < 0.05 * recipe.learning_rate


@pytest.mark.usefixtures("eager_functions")
def test_without_a_time_limit_epochs_are_not_extended(tmp_path: Path) -> None:
    recipe = replace(TINY, epochs=2, extended_epochs=6)
    _, progress = train(recipe, tmp_path, make_faces(16, seed=0))
    assert (progress.epoch, progress.stopped) == (2, "finished")


@pytest.mark.usefixtures("eager_functions")
def test_early_stopping_selects_the_best_epoch(tmp_path: Path) -> None:
    scores = iter([5.0, 4.0, 4.5, 4.4, 9.0])
    recipe = replace(TINY, epochs=50, schedule="plateau", patience=2)
    used: list[float] = []

    def score(predictions: np.ndarray) -> float:
        value = next(scores)
        used.append(value)
        return value

    _, progress = train(recipe, tmp_path, make_faces(16, seed=0), score=score)
    assert progress.stopped == "early stopping"
    assert used == [5.0, 4.0, 4.5, 4.4]
    assert (progress.best_epoch, progress.best_rmse, progress.epoch) == (2, 4.0, 4)


def test_a_member_resumes_on_two_devices_with_equal_weights(tmp_path: Path) -> None:
    program = Path(__file__).with_name("two_devices.py")
    done = subprocess.run(
        [sys.executable, "-P", program, tmp_path],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, backend.LOGICAL_CPUS: "2", "PYTHONPATH": str(program.parents[1])},
    )
    assert done.returncode == 0, done.stderr
    difference, variables = done.stdout.split()[-2:]
    assert float(difference) == 0.0
    assert int(variables) > 40
