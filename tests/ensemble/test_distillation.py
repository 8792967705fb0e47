"""Distillation: what is refused, what is taught, and the command; networks are fakes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from conftest import Command, assert_one_line_error
from report_runs import make_data, make_run

from fkd_kaggle.data import dataset, metrics
from fkd_kaggle.data.corrections import Correction
from fkd_kaggle.ensemble import distillation
from fkd_kaggle.ensemble.distillation import find_distilled, open_or_start, train_distilled
from fkd_kaggle.ensemble.prediction import Predictor
from fkd_kaggle.ensemble.run_blend import blend_run
from fkd_kaggle.errors import RecipeError, RunError
from fkd_kaggle.keypoints import COMPLETE, PARTIAL, PARTIAL_KEYPOINTS
from fkd_kaggle.recipes.plans import Member, TrainingOptions, make_plan
from fkd_kaggle.runs.corrections import load_run_corrections, store_corrections
from fkd_kaggle.runs.folder import Run, load_folds, write_folds
from fkd_kaggle.runs.lock import lock_run
from fkd_kaggle.runs.members import Progress, weights_path, write_progress
from fkd_kaggle.runs.predictions import (
    load_blended_out_of_fold,
    load_member_out_of_fold,
    store_out_of_fold,
    store_reference_predictions,
    store_test_predictions,
)
from fkd_kaggle.training.events import OnEvent
from fkd_kaggle.training.member import TrainingData, read_training_data


@pytest.fixture
def teacher(tmp_path: Path) -> Run:
    run = Run.create(tmp_path, "teacher", make_plan(TrainingOptions(("smoke",))), "0" * 32)
    write_folds(run.path, np.arange(6) % 2)
    return run


def test_a_distillation_is_trained_by_one_process(teacher: Run, tmp_path: Path) -> None:
    run = open_or_start(teacher, None, epochs=1, time_limit=None)
    with lock_run(run.path), pytest.raises(RunError, match="is being trained by process"):
        train_distilled(run, teacher, tmp_path)


def test_an_ensemble_cannot_be_the_recipe_of_a_distillation(teacher: Run) -> None:
    with pytest.raises(RecipeError, match="quick is an ensemble"):
        open_or_start(teacher, "quick", epochs=None, time_limit=None)


class ConstantNetworks:
    """Predicts (60, 61) for the complete annotator's points, (70, 71) for the partial one's."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.faces = 0

    def __call__(self, images: np.ndarray, annotator: int) -> np.ndarray:
        self.faces += len(images)
        first = 60 if annotator == COMPLETE else 70
        return np.full((len(images), 15, 2), (first, first + 1), np.float32)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The competition's files for 60 synthetic training faces and 20 test faces."""
    return make_data(tmp_path_factory.mktemp("distil"), training=60, test=20)


@pytest.fixture(scope="module")
def blended_runs(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the blended run ``one``; read only."""
    runs_dir = tmp_path_factory.mktemp("blended") / "runs"
    make_run(data_dir, runs_dir, "one", noise=1.0)
    return runs_dir


@pytest.fixture
def blended(blended_runs: Path, tmp_path: Path) -> Run:
    """A copy of the blended run, which a distillation can lie beside."""
    shutil.copytree(blended_runs, tmp_path / "runs")
    return Run.open(tmp_path / "runs" / "one")


def taught_by(
    teacher: Run, data_dir: Path, *, test_faces: bool = True
) -> tuple[TrainingData, TrainingData]:
    """Return the data of a distillation whose held-out fold is 0, and what it is taught."""
    student = open_or_start(teacher, None, epochs=1, time_limit=None)
    data = read_training_data(student, data_dir)
    predictor = cast(Predictor, ConstantNetworks(teacher))
    steps: list[str] = []
    taught = distillation.taught_data(predictor, data, 0, test_faces, steps.append)
    assert len(steps) == 1 + test_faces
    return data, taught


def make_members_useless(run: Run, data_dir: Path, names: tuple[str, ...]) -> None:
    """Move the stored predictions of members far off, so that the blend excludes them."""
    for member in run.plan.members:
        if member.name in names:
            rows, predictions = load_member_out_of_fold(run, member)
            store_out_of_fold(run, member, rows + 1, predictions + np.float32(40))
    scores = blend_run(run, data_dir)
    assert set(scores.excluded) == set(names)


def test_labels_move_halfway_to_the_predictions_but_not_in_the_held_out_fold(
    blended: Run, data_dir: Path
) -> None:
    data, taught = taught_by(blended, data_dir, test_faces=False)
    assert taught.corrected is not None
    count = len(data.training.ids)
    labels, new = data.training.keypoints, taught.corrected.keypoints[:count]
    held_out = data.held_out == 0
    assert 0 < held_out.sum() < count
    np.testing.assert_array_equal(new[held_out], labels[held_out])
    out_of_fold = load_blended_out_of_fold(blended)
    known = np.isfinite(labels) & ~held_out[:, None, None]
    np.testing.assert_allclose(new[known], ((labels + out_of_fold) / 2)[known], rtol=1e-5)
    # The members are scored on the labels of training.csv.
    np.testing.assert_array_equal(taught.training.keypoints[:count], labels)
    np.testing.assert_array_equal(taught.held_out[:count], data.held_out)


def test_labels_do_not_move_to_the_mean_face(blended: Run, data_dir: Path) -> None:
    """The blend has the mean face where only excluded members hold a face out."""
    training = dataset.read_training(data_dir)
    excluded = load_folds(blended, training) == 1
    make_members_useless(blended, data_dir, ("heatmap-small-f1", "deep15-f1"))
    assert np.isfinite(load_blended_out_of_fold(blended)[excluded]).any()
    data, taught = taught_by(blended, data_dir, test_faces=False)
    assert taught.corrected is not None
    new, labels = taught.corrected.keypoints[: len(excluded)], data.training.keypoints
    known = np.isfinite(labels) & excluded[:, None, None]
    assert known.any()
    np.testing.assert_array_equal(new[known], labels[known])


def test_corrections_of_the_run_are_taught(blended: Run, data_dir: Path) -> None:
    training = dataset.read_training(data_dir)
    labelled = np.isfinite(training.keypoints[:, 10, 0]) & (training.annotators == COMPLETE)
    rows = np.flatnonzero(labelled & (load_folds(blended, training) != 0))
    first, second = (int(row) + 1 for row in rows[:2])
    corrections = (
        Correction(first, 10, "moved", 30.0, 31.0),
        Correction(second, 10, "dropped", np.nan, np.nan),
    )
    store_corrections(blended, corrections, training)
    _, taught = taught_by(blended, data_dir, test_faces=False)
    student = find_distilled(blended)
    assert len(load_run_corrections(student, training)) == 2
    assert taught.corrected is not None
    out_of_fold = load_blended_out_of_fold(blended)
    np.testing.assert_allclose(
        taught.corrected.keypoints[first - 1, 10], ((30, 31) + out_of_fold[first - 1, 10]) / 2
    )
    # A dropped label is taught as a missing one; the scores are those of training.csv.
    assert taught.corrected.keypoints[second - 1, 10].tolist() == [60, 61]
    np.testing.assert_array_equal(
        taught.training.keypoints[: len(training.ids)], training.keypoints
    )
    (blended.path / "corrections.csv").unlink()
    with pytest.raises(RunError, match="was distilled with other corrections"):
        open_or_start(blended, None, epochs=None)


def test_outliers_are_left_out_as_in_the_training_of_the_run(blended: Run, data_dir: Path) -> None:
    name = "cascade-small:outlier_deviations=3"
    with pytest.raises(RecipeError, match="run one was trained without --predictions-from"):
        open_or_start(blended, name, epochs=1)
    store_reference_predictions(blended, blended)
    student = open_or_start(blended, name, epochs=1)
    data = read_training_data(student, data_dir)
    assert data.label_deviations is not None
    predictor = cast(Predictor, ConstantNetworks(blended))
    taught = distillation.taught_data(predictor, data, 0, True, lambda step: None)
    deviations = taught.label_deviations
    assert deviations is not None
    count = len(data.training.ids)
    np.testing.assert_array_equal(deviations[:count], data.label_deviations)
    assert deviations.shape == (len(taught.training.ids), 15)
    assert (deviations[count:] == 0).all()
    faces = taught.faces_for(student.plan.members[0].recipe)
    assert len(faces.ids) == len(taught.training.ids)


def test_missing_keypoints_are_taught_as_the_complete_annotators(
    blended: Run, data_dir: Path
) -> None:
    data, taught = taught_by(blended, data_dir, test_faces=False)
    assert taught.corrected is not None
    count = len(data.training.ids)
    partial = (data.training.annotators == PARTIAL) & (data.held_out != 0)
    complete = (data.training.annotators == COMPLETE) & (data.held_out != 0)
    new = taught.corrected.keypoints
    assert partial.any()
    assert np.isfinite(new[:count][complete]).all()
    # A partial face keeps its annotator, and teaches the other points in a row of its own.
    assert (taught.corrected.annotators[:count][partial] == PARTIAL).all()
    assert len(new) == count + partial.sum()
    others = [point for point in range(15) if point not in PARTIAL_KEYPOINTS]
    assert (new[count:][:, others] == (60, 61)).all()
    assert np.isnan(new[count:][:, list(PARTIAL_KEYPOINTS)]).all()
    assert (taught.held_out[count:] == -1).all()
    np.testing.assert_array_equal(
        taught.corrected.images[count:], data.training.images[np.flatnonzero(partial)]
    )


def test_test_faces_are_taught_as_their_annotators(blended: Run, data_dir: Path) -> None:
    data, without = taught_by(blended, data_dir, test_faces=False)
    _, taught = taught_by(blended, data_dir)
    assert data.test is not None
    assert taught.corrected is not None
    test, annotators = data.test
    complete, partial = (int((annotators == one).sum()) for one in (COMPLETE, PARTIAL))
    assert complete
    assert partial
    new = taught.corrected.take(np.arange(len(without.training.ids), len(taught.training.ids)))
    # A partial test face has two rows: the partial annotator's points and the others.
    assert len(new.ids) == complete + 2 * partial
    assert set(new.ids) == set(test.ids)
    assert (new.keypoints[:complete] == (60, 61)).all()
    four = new.keypoints[complete : complete + partial]
    assert (four[:, list(PARTIAL_KEYPOINTS)] == (70, 71)).all()
    assert np.isfinite(four).all(-1).sum() == 4 * partial
    assert (taught.held_out[len(without.training.ids) :] == -1).all()


def test_faces_are_predicted_in_batches(blended: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distillation, "_BATCH", 4)
    sizes: list[int] = []

    def predict(images: np.ndarray, annotator: int) -> np.ndarray:
        sizes.append(len(images))
        return np.broadcast_to(images[:, :1, :1] + annotator, (len(images), 15, 2))

    images = np.arange(10, dtype=np.uint8)[:, None, None] * np.ones((96, 96), np.uint8)
    result = distillation.predict_in_batches(cast(Predictor, predict), images, 1)
    assert sizes == [4, 4, 2]
    assert result[:, 0, 0].tolist() == list(range(1, 11))
    assert distillation.predict_in_batches(cast(Predictor, predict), images[:0], 1).shape == (
        *(0, 15, 2),
    )


class StubTraining:
    """Stands in for ``train_member``: stores the labels, 1 pixel off, as predictions."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.taught: list[TrainingData] = []
        self.limits: list[float | None] = []
        self.interrupt = False
        self.error = 1.0
        monkeypatch.setattr(distillation, "Predictor", ConstantNetworks)
        monkeypatch.setattr(distillation, "train_member", self)

    def __call__(
        self,
        run: Run,
        member: Member,
        data: TrainingData,
        time_limit: float | None,
        on_event: OnEvent,
    ) -> None:
        self.taught.append(data)
        self.limits.append(time_limit)
        if self.interrupt:
            raise KeyboardInterrupt
        rows = np.flatnonzero(data.held_out == member.fold)
        predictions = np.nan_to_num(data.training.keypoints[rows], nan=48.0) + np.float32(
            self.error
        )
        folder = run.member_folder(member.name)
        folder.mkdir(parents=True, exist_ok=True)
        weights_path(folder).write_bytes(b"")
        disagreement = np.linspace(0.5, 1.5, len(rows), dtype=np.float32)
        store_out_of_fold(run, member, data.training.ids[rows], predictions, disagreement)
        assert data.test is not None
        test, annotators = data.test
        points = np.full((len(test.ids), 15, 2), 48, np.float32)
        store_test_predictions(run, member, test, annotators, points)
        write_progress(folder, Progress(2, 3.5, 1.0, 2, 0.001, "finished"))


def test_distill_trains_one_network_and_compares_it_with_the_run(
    fkd: Command, blended: Run, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = StubTraining(monkeypatch)
    places = ("--data-dir", data_dir, "--runs-dir", blended.path.parent)
    result = fkd("distill", "one", "--epochs", "3", "--time-limit", "2m", *places)
    assert result.code == 0, result.all
    assert training.limits == [120.0]
    assert "predicting the test faces…" in result.out
    assert "on the held-out fold: " in result.out
    argument = f"{blended.path} --data-dir {data_dir}"
    assert f"next: fkd-kaggle export {argument} --distilled" in result.out
    student = find_distilled(blended)
    assert student.name == "one-distilled"
    assert [member.recipe.epochs for member in student.plan.members] == [3]
    mine, theirs = distillation.compare_on_fold(student, blended, data_dir)
    assert mine == pytest.approx(1.0, abs=0.01)
    assert theirs is not None
    assert f"{mine:.2f}" in result.out
    # The trained network is not trained again, and another recipe is refused.
    again = fkd("distill", "one", "--time-limit", "3m", *places)
    assert again.code == 0, again.all
    assert "run one-distilled is trained already" in again.out
    assert len(training.taught) == 1
    other = fkd("distill", "one", "--epochs", "4", *places)
    assert_one_line_error(other, "another recipe or number of epochs", str(student.path))


def test_an_interrupted_distillation_is_continued_by_the_same_command(
    fkd: Command, blended: Run, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = StubTraining(monkeypatch)
    training.interrupt = True
    command = ("distill", "--data-dir", data_dir, "--runs-dir")
    result = fkd(*command, blended.path.parent, "--no-test-faces")
    assert result.code == 130, result.all
    argument = f"{blended.path} --data-dir {data_dir}"
    assert f"interrupted; to continue: fkd-kaggle distill {argument}" in result.out
    assert find_distilled(blended).status == "interrupted"
    assert fkd(*command, blended.path.parent, "one", "--time-limit", "30m").code == 130
    training.interrupt = False
    other = fkd(*command, blended.path.parent, "one", "--test-faces")
    assert_one_line_error(other, "was distilled with --no-test-faces: delete")
    result = fkd(*command, blended.path.parent, "one")
    assert result.code == 0, result.all
    assert training.limits == [600.0, 1800.0, 600.0]
    assert "predicting the test faces" not in result.out
    first, _, second = training.taught
    np.testing.assert_array_equal(first.held_out, second.held_out)


def test_a_run_without_a_distilled_network_or_folds_is_refused(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "new", make_plan(TrainingOptions(("smoke",))), "0" * 32)
    with pytest.raises(RunError, match="`fkd-kaggle distill new` trains one"):
        find_distilled(run)
    with pytest.raises(RunError, match="run new has no folds: it was never trained"):
        open_or_start(run, None, epochs=None, time_limit=None)


@pytest.mark.parametrize("length", [70, 71, 80])
def test_runs_of_any_valid_name_have_distilled_networks_of_their_own(
    tmp_path: Path, length: int
) -> None:
    plan = make_plan(TrainingOptions(("smoke",)))
    names = [letter.rjust(length, "x") for letter in "ab"]
    for name in names:
        run = Run.create(tmp_path, name, plan, "0" * 32)
        write_folds(run.path, np.arange(6) % 2)
        student = open_or_start(run, None, epochs=1)
        assert find_distilled(run).path == student.path
        assert student.plan.ensemble.description == f"One network taught by run {name}."
    assert len(list(tmp_path.glob("*-distilled"))) == 2


def test_the_blend_of_a_distillation_can_be_interrupted(
    blended: Run, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    StubTraining(monkeypatch)

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    student = open_or_start(blended, None, epochs=1)
    with monkeypatch.context() as patch:
        patch.setattr(distillation, "blend_run", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train_distilled(student, blended, data_dir)
    assert student.status == "interrupted"
    train_distilled(student, blended, data_dir)
    assert student.status == "finished"


def test_options_that_are_not_given_are_those_of_the_run_that_is_continued(teacher: Run) -> None:
    first = open_or_start(teacher, "cascade", epochs=10)
    choices = [(None, None), ("cascade", None), (None, 10), ("cascade", 10)]
    for recipe, epochs in choices:
        assert open_or_start(teacher, recipe, epochs=epochs).path == first.path
    assert first.plan.members[0].recipe.name == "cascade"
    for recipe, epochs in [("cascade-small", None), (None, 11), ("cascade-small", 10)]:
        with pytest.raises(RunError, match="another recipe or number of epochs"):
            open_or_start(teacher, recipe, epochs=epochs)
    (first.path / "distillation.json").unlink()  # as in earlier versions
    open_or_start(teacher, None, epochs=None, test_faces=False)
    with pytest.raises(RunError, match="was distilled with --no-test-faces"):
        open_or_start(teacher, None, epochs=None, test_faces=True)
    (first.path / "distillation.json").write_text("{}")
    with pytest.raises(RunError, match=r"distillation\.json is damaged"):
        open_or_start(teacher, None, epochs=None)


def test_networks_are_compared_on_keypoints_that_both_predict(
    fkd: Command, blended: Run, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    StubTraining(monkeypatch).error = 40.0
    places = ("--data-dir", data_dir, "--runs-dir", blended.path.parent)
    result = fkd("distill", "one", *places)
    assert result.code == 0, result.all
    # The blend excludes the only network: its out-of-fold prediction is the mean face.
    assert "on the held-out fold" not in result.out
    student = find_distilled(blended)
    assert distillation.compare_on_fold(student, blended, data_dir) == (None, None)
    # A network of one keypoint is compared on that keypoint.
    (member,) = student.plan.members
    rows, predictions = load_member_out_of_fold(student, member)
    training = dataset.read_training(data_dir)
    predictions = np.full_like(predictions, np.nan)
    predictions[:, 10] = np.nan_to_num(training.keypoints[rows, 10], nan=48.0) + np.float32(1)
    store_out_of_fold(student, member, rows + 1, predictions)
    blend_run(student, data_dir)
    mine, theirs = distillation.compare_on_fold(student, blended, data_dir)
    assert mine == pytest.approx(1.0, abs=0.01)
    expected = np.full(training.keypoints.shape, np.nan, np.float32)
    expected[rows, 10] = load_blended_out_of_fold(blended)[rows, 10]
    counts = dataset.count_queries(data_dir, training)
    assert theirs == metrics.combined_rmse(
        expected, training.keypoints, training.annotators, counts
    )
    make_members_useless(blended, data_dir, ("heatmap-small-f0", "deep15-f0"))
    assert distillation.compare_on_fold(student, blended, data_dir) == (None, None)
