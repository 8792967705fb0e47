"""Tests of comparing recipes."""

from __future__ import annotations

import csv
import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import eager, write_competition, write_same_faces
from typer.testing import CliRunner
from workers.simulated_pool import SimulatedPool, SimulatedSlot

from fkd_kaggle.cli import app
from fkd_kaggle.data import dataset
from fkd_kaggle.data.faces import Faces
from fkd_kaggle.ensemble import comparison as ensemble_comparison
from fkd_kaggle.ensemble import comparison_results, run_blend
from fkd_kaggle.ensemble.comparison import start_comparison, train_comparison
from fkd_kaggle.ensemble.comparison_results import REFERENCE, ComparisonRow, Result
from fkd_kaggle.errors import DataError, RecipeError, RunError
from fkd_kaggle.recipes.plans import TrainingOptions, make_plan
from fkd_kaggle.report.comparison import table_cells
from fkd_kaggle.runs.comparison import Comparison, open_comparison
from fkd_kaggle.runs.folder import Run
from fkd_kaggle.runs.history import write_history
from fkd_kaggle.runs.members import Progress, weights_path, write_progress
from fkd_kaggle.runs.predictions import store_blended_out_of_fold, store_out_of_fold
from fkd_kaggle.runs.scores import NO_SCORES
from fkd_kaggle.training.events import EpochEnded, Event, MemberEnded, MemberFailed
from fkd_kaggle.training.member import TrainingData
from fkd_kaggle.workers import local
from fkd_kaggle.workers.devices import inspect_machine

WHOLE = """
architecture = "region"
epochs = 5
batch_size = 8
options = { filters = [4], dense = 4 }
"""

EYES = WHOLE + 'region = "eyes-nose"\npublished_metric = "mae-unit"\n'


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compare") / "data"
    write_competition(folder, train=40, test=12)
    return folder


@pytest.fixture(scope="module")
def recipes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the paths of recipe files by name."""
    folder = tmp_path_factory.mktemp("recipes")
    both = f"folds = 2\nmembers = [{{ recipe = '{folder / 'whole.toml'}', share = 3.0 }}, " \
           f"{{ recipe = '{folder / 'eyes.toml'}' }}]\n"  # fmt: skip
    for name, text in (("whole", WHOLE), ("eyes", EYES), ("both", both)):
        (folder / f"{name}.toml").write_text(text)
    return {name: str(folder / f"{name}.toml") for name in ("whole", "eyes", "both")}


@pytest.fixture(scope="module")
def compared(
    tmp_path_factory: pytest.TempPathFactory, data: Path, recipes: dict[str, str]
) -> tuple[Comparison, str]:
    """Return two recipes compared by the command with two seeds, and what it printed."""
    runs = tmp_path_factory.mktemp("runs")
    with eager():
        done = CliRunner().invoke(
            app.app,
            ["compare", recipes["whole"], recipes["eyes"], "--epochs", "1", "--seeds", "2",
             "--precision", "float32", "--workers", "0", "--data-dir", str(data),
             "--runs-dir", str(runs)],
        )  # fmt: skip
    assert done.exit_code == 0, done.output
    return open_comparison(runs / "compare-1"), done.output


@pytest.mark.slow
def test_the_command_prints_the_table_and_leaves_csv_and_page(
    compared: tuple[Comparison, str],
) -> None:
    comparison, printed = compared
    assert comparison.status == "finished"
    for text in ("recipe", "whole", "eyes", REFERENCE, "1 of 5 folds", "2 seeds"):
        assert text in printed
    with (comparison.path / "compare.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 2 * 2 + 1
    assert {row["seed"] for row in rows} == {"0", "1"}
    page = (comparison.path / "compare.html").read_text()
    assert page.count("data:image/png") == 2
    assert "whole" in page


@pytest.mark.slow
def test_all_runs_are_scored_on_the_same_held_out_faces(
    compared: tuple[Comparison, str], data: Path
) -> None:
    comparison, _ = compared
    held_out = np.load(comparison.path / "folds.npy")
    assert len(comparison.runs) == 4
    for run in comparison.runs:
        np.testing.assert_array_equal(np.load(run.path / "folds.npy"), held_out)
        with np.load(run.path / "out_of_fold.npz") as kept:
            answered = np.isfinite(kept["predictions"]).any((1, 2))
        np.testing.assert_array_equal(answered, held_out == 0)
    seeds = [
        result
        for result in comparison_results.measure_runs(comparison, data)
        if result.recipe == "whole"
    ]
    assert seeds[0].rmse != seeds[1].rmse


def test_recipes_with_any_name_can_be_compared(tmp_path: Path, data: Path) -> None:
    names = ["ünet", "unet", "ùnet", "x" * 90]
    for name in names:
        (tmp_path / f"{name}.toml").write_text(WHOLE)
    paths = [str(tmp_path / f"{name}.toml") for name in names]
    comparison = start_comparison(tmp_path / "runs", paths, data, budget=None)

    def start_workers(run: Path, members: int) -> Any:
        raise InterruptedError

    for _ in range(2):  # the second time, the runs exist
        with pytest.raises(InterruptedError):
            train_comparison(comparison, data, start_workers=start_workers)
        assert {run.plan.ensemble.name for run in comparison.runs} == set(names)
    assert (comparison.path / "unet-seed0").is_dir()


@pytest.fixture
def new_comparison(tmp_path: Path, data: Path, recipes: dict[str, str]) -> Comparison:
    """Return a comparison of two recipes with two seeds whose runs are created, but not trained."""
    names = [recipes["whole"], recipes["eyes"]]
    comparison = start_comparison(tmp_path, names, data, budget=60.0, seeds=2)

    def start_workers(run: Path, members: int) -> Any:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        train_comparison(comparison, data, start_workers=start_workers)
    return comparison


def train_in_simulation(comparison: Comparison, data: Path) -> None:
    """Train a comparison in a slot that writes no files."""
    train_comparison(
        comparison,
        data,
        start_workers=lambda run, members: nullcontext(SimulatedPool([SimulatedSlot("a")])),
    )


def test_a_run_that_was_created_without_folds_gets_those_of_the_comparison(
    new_comparison: Comparison, data: Path
) -> None:
    """A comparison can be killed between the two files."""
    second = next(run for run in new_comparison.runs if run.name == "whole-seed1")
    (second.path / "folds.npy").unlink()
    train_in_simulation(new_comparison, data)
    np.testing.assert_array_equal(
        np.load(second.path / "folds.npy"), np.load(new_comparison.path / "folds.npy")
    )


def test_a_finished_run_is_blended_again_after_one_of_its_networks_was_trained_again(
    new_comparison: Comparison, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blended: list[str] = []

    def blend_run(run: Run, *_: Any, **__: Any) -> None:
        blended.append(run.name)

    monkeypatch.setattr(run_blend, "blend_run", blend_run)
    for run in new_comparison.runs:
        (member,) = run.plan.members
        store_out_of_fold(run, member, np.array([1]), np.zeros((1, 15, 2), np.float32))
        write_progress(run.member_folder(member.name), Progress(stopped="finished"))
        weights_path(run.member_folder(member.name)).touch()
        run.update(status="finished")
    lost = next(run for run in new_comparison.runs if run.name == "eyes-seed1")
    (lost.path / "members/eyes-f0/out_of_fold.npz").unlink()
    train_in_simulation(new_comparison, data)
    assert blended == ["eyes-seed1"]


@pytest.mark.slow
def test_results_contain_keypoints_metric_and_cost(
    compared: tuple[Comparison, str], data: Path
) -> None:
    comparison, _ = compared
    results = {
        result.recipe: result for result in comparison_results.measure_runs(comparison, data)
    }
    assert results["whole"].keypoints == 15
    assert results["eyes"].keypoints == 7
    assert results["eyes"].published_metric == "mae-unit"
    mae, own = results["eyes"].mae, results["eyes"].published_value
    assert mae is not None
    assert own == pytest.approx(mae / 96)
    assert results["whole"].parameters > results["eyes"].parameters > 0
    assert results["whole"].flops > results["eyes"].flops > 0
    for result in results.values():
        assert (result.images_per_second is None) == (result.recipe == REFERENCE)


@pytest.mark.slow
def test_the_baseline_predicts_the_mean_of_the_other_folds(
    compared: tuple[Comparison, str], data: Path
) -> None:
    comparison, _ = compared
    training, held_out = dataset.read_training(data), np.load(comparison.path / "folds.npy")
    mean = np.nanmean(training.keypoints[held_out != 0], 0)
    errors = (training.keypoints - mean)[held_out == 0]
    reference = comparison_results.measure_runs(comparison, data)[-1]
    assert reference.mae == pytest.approx(np.nanmean(abs(errors)), rel=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("eager_functions")
def test_an_interrupted_comparison_is_measured_and_resumed(
    data: Path, recipes: dict[str, str], tmp_path: Path
) -> None:
    def again() -> Comparison:
        names = [recipes["whole"], recipes["eyes"]]
        return start_comparison(tmp_path, names, data, budget=None, epochs=2, precision="float32")

    def interrupt(event: Event) -> None:
        if isinstance(event, EpochEnded) and event.member == "eyes-seed0/eyes-f0":
            raise KeyboardInterrupt

    first = again()
    train_comparison(first, data, interrupt)
    assert first.status == "interrupted"
    assert [result.recipe for result in comparison_results.measure_runs(first, data)][
        -1
    ] == REFERENCE
    events: list[Event] = []
    second = again()
    train_comparison(second, data, events.append)
    assert (second.path, second.status) == (first.path, "finished")
    ended = [event.member for event in events if isinstance(event, MemberEnded)]
    assert ended == ["eyes-seed0/eyes-f0"]
    assert {result.recipe for result in comparison_results.measure_runs(second, data)} == {
        "whole", "eyes", REFERENCE,
    }  # fmt: skip
    assert again().path != first.path  # a finished comparison is not resumed


@pytest.mark.slow
def test_recipes_are_added_with_the_same_settings_only(
    compared: tuple[Comparison, str], data: Path, recipes: dict[str, str], tmp_path: Path
) -> None:
    comparison, _ = compared
    settings: dict[str, Any] = {
        "budget": None, "epochs": 1, "precision": "float32", "default_workers": 5,
    }  # fmt: skip
    grown = start_comparison(
        comparison.path.parent, ["masked-cnn", recipes["eyes"]], data, name="compare-1", **settings
    )
    assert grown.path == comparison.path
    assert grown.names == (recipes["whole"], recipes["eyes"], "masked-cnn")
    assert grown.seeds == 2
    # The number of workers stays, whatever the default is.
    assert grown.settings.workers == comparison.settings.workers == 0
    with pytest.raises(RunError, match="another epochs"):
        start_comparison(
            comparison.path.parent, ["masked-cnn"], data, name="compare-1",
            **{**settings, "epochs": 3},
        )  # fmt: skip
    with pytest.raises(RunError, match="another number of workers"):
        start_comparison(
            comparison.path.parent, ["masked-cnn"], data, name="compare-1",
            **{**settings, "workers": 7},
        )  # fmt: skip
    other = tmp_path / "data"
    write_competition(other, train=41)
    with pytest.raises(RunError, match="another data set"):
        train_comparison(comparison, other)


@pytest.mark.slow
def test_members_of_an_ensemble_share_the_budget(
    data: Path, recipes: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    budgets: dict[str, float | None] = {}

    def train_member(
        run: Any, member: Any, material: Any, budget: float | None, tell: Any, *, seconds: Any
    ) -> None:
        budgets[f"{run.name}/{member.name}"] = budget

    monkeypatch.setattr(ensemble_comparison, "train_member", train_member)
    names = [recipes["whole"], recipes["both"]]
    comparison = start_comparison(tmp_path, names, data, budget=60.0, folds=2, precision="float32")
    train_comparison(comparison, data)
    assert budgets == pytest.approx(
        {
            "whole-seed0/whole-f0": 60, "whole-seed0/whole-f1": 60, "both-seed0/whole-f0": 45,
            "both-seed0/eyes-f0": 15, "both-seed0/whole-f1": 45, "both-seed0/eyes-f1": 15,
        }
    )  # fmt: skip


@pytest.mark.slow
def test_a_member_that_fails_does_not_stop_the_others(
    data: Path, recipes: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def train_member(
        run: Any, member: Any, material: Any, budget: float | None, tell: Any, *, seconds: Any
    ) -> None:
        tried.append(run.name)
        if member.recipe.name == "whole":
            raise DataError("none of 40 faces is complete")

    monkeypatch.setattr(ensemble_comparison, "train_member", train_member)
    names = [recipes["whole"], recipes["eyes"]]
    comparison = start_comparison(tmp_path, names, data, budget=60.0, precision="float32")
    events: list[Event] = []
    train_comparison(comparison, data, events.append)
    assert comparison.status == "failures"
    assert tried == ["whole-seed0", "eyes-seed0"]
    failed = [event for event in events if isinstance(event, MemberFailed)]
    assert failed == [MemberFailed("whole-seed0/whole-f0", "none of 40 faces is complete")]


@pytest.mark.slow
def test_workers_continue_after_a_recipe_that_fails(
    data: Path, recipes: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    (tmp_path / "wrong.toml").write_text(WHOLE + "heatmap_loss = 0.5\n")
    start_workers = local.workers_for_runs(data, 2, inspect_machine())
    assert start_workers is not None
    comparison = start_comparison(
        tmp_path / "runs", [str(tmp_path / "wrong.toml"), recipes["whole"], recipes["both"]], data,
        budget=None, epochs=1, folds=2, precision="float32", workers=2,
    )  # fmt: skip
    events: list[Event] = []
    train_comparison(comparison, data, events.append, start_workers=start_workers)
    assert comparison.status == "failures"
    failed = {event.member: event.reason for event in events if isinstance(event, MemberFailed)}
    assert set(failed) == {"wrong-seed0/wrong-f0", "wrong-seed0/wrong-f1"}
    assert all("heatmap_loss needs" in line for line in failed.values())
    ended = {event.member for event in events if isinstance(event, MemberEnded)}
    assert ended == {
        "whole-seed0/whole-f0", "whole-seed0/whole-f1", "both-seed0/whole-f0",
        "both-seed0/eyes-f0", "both-seed0/whole-f1", "both-seed0/eyes-f1",
    }  # fmt: skip
    measured = {result.recipe for result in comparison_results.measure_runs(comparison, data)}
    assert measured == {"whole", "both", REFERENCE}
    # A comparison does not predict the test faces.
    assert not list(comparison.path.rglob("test.npz"))


def test_invalid_comparisons_are_refused_before_a_folder_is_created(
    data: Path, recipes: dict[str, str], tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match="did you mean 'farhat'"):
        start_comparison(tmp_path, ["fahrat"], data, budget=60.0)
    with pytest.raises(RecipeError, match="called 'eyes': name each once"):
        start_comparison(tmp_path, [recipes["eyes"], recipes["eyes"]], data, budget=60.0)
    with pytest.raises(RecipeError, match="folds must be at least 2"):
        start_comparison(tmp_path, [recipes["eyes"]], data, budget=60.0, folds=1)
    same = write_same_faces(tmp_path / "same")
    with pytest.raises(DataError, match="1 groups of distinct faces, too few for 3 folds"):
        start_comparison(tmp_path / "runs", [recipes["eyes"]], same, budget=60.0, folds=3)
    assert not (tmp_path / "runs").exists()
    shutil.rmtree(same)
    (tmp_path / "mine").mkdir()
    with pytest.raises(RunError, match="is no comparison"):
        start_comparison(tmp_path, [recipes["eyes"]], data, budget=60.0, name="mine")
    with pytest.raises(RunError, match="cannot name a folder"):
        start_comparison(tmp_path / "runs", [recipes["eyes"]], data, budget=60.0, name="../mine")
    assert not list(tmp_path.glob("*/*"))


def result(recipe: str, seed: int, rmse: float | None, keypoints: int = 15) -> Result:
    return Result(
        recipe, seed, keypoints, rmse, rmse, rmse, rmse, "rmse-px", rmse, 100.0, 60.0, 1, 1, ""
    )


def test_rows_are_means_over_seeds_sorted_by_keypoints_and_rmse() -> None:
    measured = [
        result("good", 0, 1.0), result("bad", 0, 3.0), result("good", 1, 2.0),
        result("few points", 0, 0.5, 7), result("broken", 0, None),
    ]  # fmt: skip
    table = comparison_results.average_over_seeds(measured)
    assert [line.mean.recipe for line in table] == ["good", "bad", "broken", "few points"]
    assert table[0].mean.rmse == 1.5
    assert table[0].seeds == 2
    assert table[0].spread == pytest.approx(np.std([1, 2], ddof=1))
    assert table[1].spread is None


def test_a_row_shows_the_published_metric_with_its_unit() -> None:
    mean = replace(
        result("farhat", 0, 2.0), published_metric="mae-unit", published_value=0.0214, flops=10**9
    )
    cells = table_cells(ComparisonRow(mean, 0.05, 3))
    assert "mae-unit 0.0214 px/96" in cells
    assert "±0.050" in cells
    assert "1,000" in cells


def test_a_row_has_the_mean_time_and_the_reasons_of_all_seeds() -> None:
    measured = [
        replace(result("one", 0, 1.0), seconds=60.0, ended="finished, time limit"),
        replace(result("one", 1, 1.0), seconds=30.0, ended="early stopping, finished"),
        replace(result("one", 2, 1.0), seconds=30.0, ended=""),
    ]
    (row,) = comparison_results.average_over_seeds(measured)
    assert row.mean.seconds == 40
    assert row.mean.ended == "early stopping, finished, time limit"


@pytest.fixture
def excluded_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Run, TrainingData]:
    """Return a run of two recipes that was blended, and its data.

    All labels are 40 pixels. The recipe for 15 keypoints errs by 4 pixels, the recipe for 7 by 2,
    and the mean face by 1. Fold 0 has no used member; in fold 1 the second recipe is used.
    """
    monkeypatch.setattr(comparison_results, "_cost", lambda recipes, precision: (1, 1))
    plan = make_plan(TrainingOptions(("heatmap-small", "eyes-nose"), folds=3))
    run = Run.create(tmp_path, "both", plan, "0" * 32)
    labels = np.full((6, 15, 2), 40, np.float32)
    faces = Faces(np.zeros((6, 96, 96), np.uint8), labels, np.arange(1, 7))
    folds = np.arange(6) % 3
    blended = np.where((folds < 2)[:, None, None], np.float32(41), np.float32("nan"))
    blended = np.broadcast_to(blended, labels.shape).copy()
    for member in run.plan.members:
        points = sorted({point for head in member.recipe.outputs() for point in head})
        rows = np.flatnonzero(folds == member.fold)
        predictions = np.full((2, 15, 2), np.nan, np.float32)
        predictions[:, points] = 44 if len(points) == 15 else 42
        if member.fold < 2:  # the members of fold 2 are not trained yet
            store_out_of_fold(run, member, faces.ids[rows], predictions)
        if (member.recipe.name, member.fold) == ("eyes-nose", 1):
            blended[rows[:, None], points] = 42
    store_blended_out_of_fold(run, faces.ids, blended, folds < 2)
    excluded = ("heatmap-small-f0", "eyes-nose-f0", "heatmap-small-f1")
    run.update(status="interrupted", scores=replace(NO_SCORES, excluded=excluded))
    return run, TrainingData(faces, folds, None, np.ones((2, 15)))


def test_excluded_members_are_measured_where_no_used_member_predicts(
    excluded_run: tuple[Run, TrainingData],
) -> None:
    found = comparison_results.measure_run(*excluded_run)
    assert found.keypoints == 15
    # Fold 0: the mean of both networks, or the only one; fold 1: the used network, or the other.
    errors = [3] * 7 + [4] * 8 + [2] * 7 + [4] * 8
    assert found.mae == pytest.approx(np.mean(errors))


def test_damaged_histories_are_left_out_of_the_speed(
    excluded_run: tuple[Run, TrainingData],
) -> None:
    run, material = excluded_run
    found = comparison_results.measure_run(run, material)
    assert (found.seconds, found.images_per_second) == (0, None)
    first, second, third, *_ = run.plan.members
    write_history(run.member_folder(first.name), [{"epoch": 1, "seconds": 2.0, "images": 50}])
    (run.member_folder(second.name) / "history.csv").write_bytes(b"")
    write_history(run.member_folder(third.name), [{"epoch": 1, "seconds": 9.0}])
    write_progress(run.member_folder(first.name), Progress(stopped="time limit"))
    found = comparison_results.measure_run(run, material)
    assert (found.seconds, found.images_per_second) == (2, 25)
    assert found.ended == "interrupted, time limit"
