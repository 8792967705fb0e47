"""Tests of training, resuming, sharding and predicting with runs on small data."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import eager, write_competition

from fkd_kaggle.data import dataset
from fkd_kaggle.ensemble import fitting, prediction, run_blend
from fkd_kaggle.errors import NoteWarning, RecipeError, RunError
from fkd_kaggle.recipes import loading, plans, schema
from fkd_kaggle.runs.folder import Run, latest_run, list_runs
from fkd_kaggle.runs.members import weights_path
from fkd_kaggle.runs.scores import NO_SCORES, Scores
from fkd_kaggle.training.events import (
    EnsembleEnded,
    EnsembleStarted,
    EpochEnded,
    Event,
    MemberEnded,
    MemberStarted,
)
from fkd_kaggle.workers.schedule import Outcome

pytestmark = pytest.mark.slow

TINY = """
architecture = "heatmap"
epochs = 2
batch_size = 8
heatmap_loss = 0.5
options = { width = 8, depth = 1 }
"""

NOSE = """
architecture = "region"
region = "eyes-nose"
epochs = 1
batch_size = 8
options = { filters = [4, 8], dense = 8 }
"""

LEAKY = """
annotator_outputs = "shared"
imputation = "ffill"
offline_augmentation = [{ flip = true }]
split = "after-augmentation"
held_out = 0.2
published = { mse-px2 = 0.7, keras-accuracy = 0.9 }
published_metric = "mse-px2"
"""


@pytest.fixture(scope="module", autouse=True)
def run_eagerly() -> Iterator[None]:
    """Run TensorFlow's functions eagerly; commands, kernels and ``test_trainer`` compile them."""
    with eager():
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ensemble") / "data"
    write_competition(folder, train=40, test=12)
    return folder


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> plans.Plan:
    folder = tmp_path_factory.mktemp("recipes")
    (folder / "tiny.toml").write_text(TINY)
    (folder / "nose.toml").write_text(NOSE)
    names = [str(folder / "tiny.toml"), str(folder / "nose.toml")]
    return plans.make_plan(plans.TrainingOptions(names, folds=2, precision="float32"))


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory, data: Path, plan: plans.Plan
) -> tuple[Run, Scores, list[Event]]:
    run = fitting.start_run(tmp_path_factory.mktemp("runs"), "whole", plan, data)
    events: list[Event] = []
    scores = fitting.train_run(run, data, on_event=events.append, tensorboard=True)
    return run, scores, events


def predicted(run: Run, data: Path) -> np.ndarray:
    test, lookup = dataset.read_test(data), dataset.read_lookup(data)
    return prediction.predict_run(run, data, test, lookup.annotators(test.ids))


def test_a_run_folder_is_complete(trained: tuple[Run, Scores, list[Event]]) -> None:
    run, scores, events = trained
    assert run.status == "finished"
    assert run.scores == scores
    assert scores.combined is not None
    assert scores.expected is not None
    assert set(scores.by_member) == {"tiny", "nose"}
    members = ["tiny-f0", "nose-f0", "tiny-f1", "nose-f1"]
    for member in members:
        files = {path.name for path in run.member_folder(member).iterdir()}
        assert {"history.csv", "progress.json", "best.weights.h5", "out_of_fold.npz"} <= files
        assert "checkpoint.npz" not in files
    assert list((run.path / "tensorboard" / "tiny-f0").rglob("events.out.tfevents.*"))
    recipe = loading.load_recipe(str(run.path / "recipes" / "tiny.toml"))
    assert isinstance(recipe, schema.Recipe)
    assert recipe.digest == run.recipe_digests["tiny"]
    assert isinstance(events[0], EnsembleStarted)
    assert isinstance(events[-1], EnsembleEnded)
    assert [event.member for event in events if isinstance(event, MemberEnded)] == members


def test_out_of_fold_predictions_are_for_the_held_out_fold(
    trained: tuple[Run, Scores, list[Event]], data: Path
) -> None:
    run, _, _ = trained
    held_out = np.load(run.path / "folds.npy")
    for fold in (0, 1):
        with np.load(run.member_folder(f"tiny-f{fold}") / "out_of_fold.npz") as kept:
            np.testing.assert_array_equal(np.sort(kept["ids"] - 1), np.nonzero(held_out == fold)[0])


def test_predictions_from_weights_equal_stored_predictions(
    trained: tuple[Run, Scores, list[Event]], data: Path
) -> None:
    run, _, _ = trained
    first = predicted(run, data)
    assert first.shape == (12, 15, 2)
    assert np.isfinite(first).all()
    for kept in run.path.glob("members/*/test.npz"):
        kept.unlink()  # predict from the weights
    np.testing.assert_allclose(predicted(run, data), first, atol=1e-3)


def test_shards_and_one_run_give_the_same_submission(
    trained: tuple[Run, Scores, list[Event]], data: Path, plan: plans.Plan, tmp_path: Path
) -> None:
    whole, scores, _ = trained
    for number, only in enumerate((["tiny-f0", "nose-f0"], ["tiny-f1", "nose-f1"])):
        shard = fitting.start_run(tmp_path / f"shard{number}", "shard", plan, data)
        fitting.train_run(shard, data, only=only)
    merged = fitting.start_run(tmp_path / "merged", "merged", plan, data)
    for number in range(2):
        members = tmp_path / f"shard{number}" / "shard" / "members"
        shutil.copytree(members, merged.path / "members", dirs_exist_ok=True)
    blended = run_blend.blend_run(merged, data)
    np.testing.assert_allclose(predicted(merged, data), predicted(whole, data), atol=1e-2)
    assert blended.combined == pytest.approx(scores.combined, rel=1e-3)


def test_an_interrupted_run_predicts_and_is_resumed(
    data: Path, plan: plans.Plan, tmp_path: Path
) -> None:
    run = fitting.start_run(tmp_path, None, plan, data)

    def interrupt(event: Event) -> None:
        if isinstance(event, EpochEnded) and event.member == "tiny-f1" and event.epoch == 1:
            raise KeyboardInterrupt

    assert fitting.train_run(run, data, on_event=interrupt) == NO_SCORES
    assert run.status == "interrupted"
    assert np.isfinite(predicted(run, data)).all()
    events: list[Event] = []
    fitting.train_run(run, data, on_event=events.append)
    assert run.status == "finished"
    # The first two members were finished and are not trained again.
    assert [event.member for event in events if isinstance(event, MemberEnded)] == [
        "tiny-f1",
        "nose-f1",
    ]


def test_a_run_that_was_interrupted_before_its_first_epoch_does_not_predict(
    data: Path, plan: plans.Plan, tmp_path: Path
) -> None:
    run = fitting.start_run(tmp_path, None, plan, data)

    def interrupt(event: Event) -> None:
        if isinstance(event, MemberStarted):
            raise KeyboardInterrupt

    assert fitting.train_run(run, data, on_event=interrupt) == NO_SCORES
    assert run.status == "interrupted"
    with pytest.raises(RunError, match="no trained network yet"):
        predicted(run, data)


def test_a_time_limit_is_kept(data: Path, tmp_path: Path) -> None:
    (tmp_path / "long.toml").write_text(TINY.replace("epochs = 2", "epochs = 100000"))
    plan = plans.make_plan(
        plans.TrainingOptions(
            [str(tmp_path / "long.toml")], folds=2, precision="float32", time_limit=16
        )
    )
    run = fitting.start_run(tmp_path / "runs", None, plan, data)
    events: list[Event] = []
    fitting.train_run(run, data, on_event=events.append)
    ended = events[-1]
    assert isinstance(ended, EnsembleEnded)
    assert ended.finished >= 1  # on a busy machine, both members do not fit
    assert ended.seconds < 26
    assert {event.stopped for event in events if isinstance(event, MemberEnded)} == {"time limit"}


def test_a_time_limit_without_a_finished_network_is_explained(
    data: Path, plan: plans.Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "_train_members", lambda *_: Outcome("time limit", {}, 0))
    run = fitting.start_run(tmp_path, "short", plan, data)
    advice = "in the time limit: continue with `fkd-kaggle train-ensemble --resume short"
    with pytest.raises(RunError, match=advice) as caught:
        fitting.train_run(run, data, time_limit=20)
    assert "predict" not in str(caught.value)
    # A member that was interrupted in an earlier call has weights.
    folder = run.member_folder("tiny-f0")
    folder.mkdir(parents=True)
    weights_path(folder).write_bytes(b"")
    with pytest.raises(RunError, match="`fkd-kaggle predict short` uses the epochs so far"):
        fitting.train_run(run, data, time_limit=20)


def test_a_run_is_not_used_with_another_data_set(
    trained: tuple[Run, Scores, list[Event]], tmp_path: Path
) -> None:
    run, _, _ = trained
    other = tmp_path / "other"
    write_competition(other, train=41, test=12)
    with pytest.raises(RunError, match="made on another data set"):
        predicted(run, other)
    with pytest.raises(RunError, match="made on another data set"):
        fitting.train_run(run, other)


def test_runs_are_listed_and_damaged_runs_are_left_out(
    trained: tuple[Run, Scores, list[Event]], plan: plans.Plan, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(RunError, match="no run in"):
        latest_run(tmp_path)
    first = fitting.start_run(tmp_path, None, plan, data)
    second = fitting.start_run(tmp_path, None, plan, data)
    assert first.name != second.name
    assert {run.name for run in list_runs(tmp_path)} == {first.name, second.name}
    with pytest.raises(RunError, match="exists in"):
        fitting.start_run(tmp_path, first.name, plan, data)
    with pytest.raises(RunError, match="cannot name a folder"):
        fitting.start_run(tmp_path, "../escape", plan, data)
    (second.path / "run.json").write_text("{")
    with pytest.warns(NoteWarning, match=r"left out: .* is damaged"):
        assert [run.name for run in list_runs(tmp_path)] == [first.name]
    with pytest.raises(RunError, match="is damaged"):
        Run.open(second.path)


def test_a_split_after_augmentation_is_scored_on_three_sets_of_faces(
    tmp_path: Path, data: Path
) -> None:
    """The sets are held-out faces, copies of them and copies of training faces."""
    (tmp_path / "leaky.toml").write_text(
        NOSE.replace("eyes-nose", "all") + LEAKY, encoding="utf-8"
    )  # fmt: skip
    plan = plans.make_plan(
        plans.TrainingOptions([str(tmp_path / "leaky.toml")], precision="float32")
    )
    run = fitting.start_run(tmp_path / "runs", "leaky", plan, data)
    events: list[Event] = []
    scores = fitting.train_run(run, data, on_event=events.append)
    # 40 faces, 8 held out, the rest forward-filled; half of them complete and mirrored.
    started = next(event for event in events if isinstance(event, MemberStarted))
    held_out = np.load(run.path / "folds.npy") == 0
    complete = (dataset.read_training(data).annotators[~held_out] == 0).sum()
    assert held_out.sum() == 8
    assert started.training_faces == 32 + complete - round(0.2 * (32 + complete))
    found = scores.published_metrics["leaky"]
    assert set(found) == {"mse-px2", "keras-accuracy"}
    assert found["mse-px2"]["published"] == 0.7
    assert (found["mse-px2"]["copies"] or 0) > 0
    assert (found["mse-px2"]["held_out"] or 0) > 0
    assert len({found["mse-px2"][on] for on in ("held_out", "unseen_copies", "copies")}) == 3
    assert run.scores == scores
    assert np.isfinite(predicted(run, data)).all()


def test_an_invalid_network_is_refused_before_training(tmp_path: Path, data: Path) -> None:
    (tmp_path / "tiny.toml").write_text(TINY)
    (tmp_path / "deep.toml").write_text('architecture = "plain-cnn"\noptions = { poolings = 9 }')
    plan = plans.make_plan(
        plans.TrainingOptions(
            [str(tmp_path / name) for name in ("tiny.toml", "deep.toml")], folds=2
        )
    )
    run = fitting.start_run(tmp_path / "runs", None, plan, data)
    events: list[Event] = []
    with pytest.raises(RecipeError, match="poolings must be 0 to 7"):
        fitting.train_run(run, data, on_event=events.append)
    assert not events
