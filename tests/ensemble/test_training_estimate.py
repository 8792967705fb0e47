"""Estimates before a training, and the lines about them; nothing is trained or measured."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from fkd_kaggle.display import time_plan
from fkd_kaggle.ensemble import face_counts, run_times, training_estimate
from fkd_kaggle.ensemble.time_plan import full_seconds, minimum_seconds
from fkd_kaggle.ensemble.training_estimate import (
    TimedResult,
    TrainingEstimate,
    estimate_results,
    estimate_training,
    fitting_ensembles,
    remember_speeds,
)
from fkd_kaggle.recipes.plans import Plan, TrainingOptions, make_plan
from fkd_kaggle.runs.folder import Run
from fkd_kaggle.runs.history import read_histories, write_history
from fkd_kaggle.runs.speeds import recall_speeds
from fkd_kaggle.workers.calibration import REFERENCE_CORE
from fkd_kaggle.workers.devices import Machine

EYES_MOUTH = ("eyes-nose", "mouth-eyebrows")


@pytest.fixture(autouse=True)
def reference_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this machine be two idle cores of the reference machine."""
    monkeypatch.setattr(run_times, "measure_core", lambda: REFERENCE_CORE)
    monkeypatch.setattr(run_times, "has_fast_bfloat16", lambda: True)
    monkeypatch.setattr(run_times, "inspect_machine", lambda: Machine((), 2, 8 << 30))
    # The competition's faces, whatever data there is.
    monkeypatch.setattr(face_counts, "read_labels", lambda _: face_counts.original_labels())


def estimate(plan: Plan, tmp_path: Path, time_limit: float | None) -> TrainingEstimate:
    """Estimate the training of all members of a plan."""
    return estimate_training(plan, plan.members, tmp_path, tmp_path, time_limit=time_limit)


def estimate_with(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    workers: int | None,
    *gpus: str,
    limit: float | None = None,
) -> TrainingEstimate:
    """Estimate `winning` with a number of workers on two cores with enough memory, or on GPUs."""
    monkeypatch.setattr(run_times, "inspect_machine", lambda: Machine(gpus, 2, 32 << 30))
    plan = make_plan(TrainingOptions(("winning",)))
    return estimate_training(
        plan, plan.members, tmp_path, tmp_path, time_limit=limit, workers=workers
    )


def test_a_cpu_that_trains_in_float32_is_expected_to_be_slower(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(TrainingOptions(("quick",)))
    fast = estimate(plan, tmp_path, None)
    monkeypatch.setattr(run_times, "has_fast_bfloat16", lambda: False)
    slow = estimate(plan, tmp_path, None)
    # docs/experiments.md: convolutions are 1.5 to 1.8 times as fast in bfloat16.
    assert 1.4 < slow.full / fast.full < 1.8


def test_a_resumed_run_trains_the_most_important_recipe_first(tmp_path: Path) -> None:
    plan = make_plan(TrainingOptions(("standard",)))
    # Three folds are trained, except for the region CNNs.
    todo = [one for one in plan.members if one.fold == 3 or one.recipe.name.endswith(EYES_MOUTH)]
    found = estimate_training(plan, todo, tmp_path, tmp_path, time_limit=1400.0)
    assert found.plan.members[0].name == "cascade-f3"
    assert {one.fold for one in found.plan.members} == {3}
    everything = estimate_training(plan, todo, tmp_path, tmp_path, time_limit=40_000.0)
    assert everything.plan.members == tuple(todo)


def test_a_short_limit_trains_a_part_of_the_plan(tmp_path: Path) -> None:
    plan = make_plan(TrainingOptions(("standard",)))
    short = estimate(plan, tmp_path, 600.0)
    assert 0 < len(short.plan.members) < len(plan.members)
    assert 0 < short.minimum < 600
    line = time_plan.describe_estimate(short, ["quick"])
    count = len(short.plan.members)
    assert line.startswith(f"10:00 min on 2 cores: {count} of {len(plan.members)} networks (")
    assert "--recipe quick fits; all epochs of the full plan take about" in line


def test_without_a_limit_all_members_are_trained(tmp_path: Path) -> None:
    plan = make_plan(TrainingOptions(("deep15",)))
    found = estimate(plan, tmp_path, None)
    assert found.plan.members == plan.members
    line = time_plan.describe_estimate(found)
    assert line.startswith("expected duration: about ")
    assert " on 2 cores (" in line
    assert fitting_ensembles(found, plan) == []


@pytest.mark.parametrize("epochs", [None, 2])
def test_the_full_duration_is_computed_for_all_members_of_the_plan(
    tmp_path: Path, epochs: int | None
) -> None:
    plan = make_plan(TrainingOptions(("standard",), epochs=epochs))
    found = estimate(plan, tmp_path, 300.0)
    assert found.full == full_seconds(plan.members, found.times)
    # A resumed run has fewer members to train, and the same plan.
    resumed = estimate_training(plan, plan.members[7:], tmp_path, tmp_path, time_limit=300.0)
    assert resumed.full == found.full
    if epochs:
        longer = estimate(make_plan(TrainingOptions(("standard",))), tmp_path, 300.0)
        assert found.full < longer.full / 5


def test_the_number_of_workers_is_that_of_the_slots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    default, in_process, many = (
        estimate_with(monkeypatch, tmp_path, workers) for workers in (None, 0, 8)
    )
    assert [one.times.workers for one in (default, in_process, many)] == [2, 1, 8]
    # Eight workers share two cores.
    assert many.times.slowdown(8) == 4.0
    assert default.full <= many.full < 1.25 * default.full  # not 8 / 2 times as fast
    assert in_process.full == pytest.approx(2 * default.full, rel=0.1)
    one_gpu = estimate_with(monkeypatch, tmp_path, 4, "0")
    assert one_gpu.times.workers == 1
    assert one_gpu.times.slowdown(8) == 1.0
    assert one_gpu.full == estimate_with(monkeypatch, tmp_path, None, "0").full


def test_ensembles_fit_with_the_workers_of_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(TrainingOptions(("winning",)))
    two, one = (
        estimate_with(monkeypatch, tmp_path, workers, limit=2000.0) for workers in (None, 0)
    )
    assert "quick" in fitting_ensembles(two, plan)
    assert "quick" not in fitting_ensembles(one, plan)


def test_each_recipe_is_estimated_with_its_own_faces(tmp_path: Path) -> None:
    """Two thirds of the original's faces are the partial annotator's."""
    plan = make_plan(TrainingOptions(("stack20",)))
    found = estimate(plan, tmp_path, None)
    counts = [found.times.faces(line.recipe) for line in plan.ensemble.members]
    assert counts == [round(0.8 * 2284), round(0.8 * 4765)] * 3
    plan = make_plan(TrainingOptions(("multi-branch",)))
    assert estimate(plan, tmp_path, None).times.faces(plan.members[0].recipe) == 1712


def test_the_minimum_assumes_an_idle_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(TrainingOptions(("quick",)))
    idle = estimate(plan, tmp_path, 600.0)
    monkeypatch.setattr(run_times, "measure_core", lambda: REFERENCE_CORE / 3)
    busy = estimate(plan, tmp_path, 600.0)
    assert busy.minimum == idle.minimum == minimum_seconds(plan.members, idle.times)
    assert busy.full == pytest.approx(3 * idle.full)


def test_speeds_of_members_trained_here_are_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_estimate, "measure_core", lambda: REFERENCE_CORE)
    # Eight workers on two cores: each has a quarter of a core.
    found = estimate_with(monkeypatch, tmp_path, 8)
    run = Run.create(tmp_path, None, make_plan(TrainingOptions(("winning",))), "digest")
    folder = run.member_folder(run.plan.members[0].name)
    folder.mkdir(parents=True)
    rows = [{"epoch": epoch, "seconds": epoch, "images": 50 * epoch} for epoch in (1, 2, 3)]
    write_history(folder, rows)
    trained = read_histories(run)
    remember_speeds(run, found, trained)
    assert not (run.path / "speed.json").exists()
    remember_speeds(run, found, {})
    (speeds,) = recall_speeds(tmp_path, found.machine.name)
    digest = run.plan.members[0].recipe.digest
    assert (speeds.core, speeds.images_per_second) == (REFERENCE_CORE / 4, {digest: 50.0})
    # A worker with a core of its own is four times as fast.
    recipe = run.plan.members[0].recipe
    alone = estimate_with(monkeypatch, tmp_path, 1)
    assert alone.times.speed(recipe).images_per_second == pytest.approx(200.0)


def test_ensembles_that_fit_the_limit_are_named(tmp_path: Path) -> None:
    plan = make_plan(TrainingOptions(("standard",)))
    assert fitting_ensembles(estimate(plan, tmp_path, 30.0), plan) == []
    fitting = fitting_ensembles(estimate(plan, tmp_path, 30 * 3600.0), plan)
    assert "quick" in fitting
    assert "standard" not in fitting


def test_a_finished_plan_has_no_shortest_limit(tmp_path: Path) -> None:
    plan = make_plan(TrainingOptions(("quick",)))
    found = estimate_training(plan, (), tmp_path, tmp_path, time_limit=5.0)
    assert (found.todo, found.minimum) == ((), 0.0)


def test_a_limit_that_is_too_short_is_explained(tmp_path: Path) -> None:
    plan = make_plan(TrainingOptions(("quick",)))
    found = dataclasses.replace(estimate(plan, tmp_path, 5.0), minimum=71.0)
    message = time_plan.describe_minimum(found, "5 s")
    assert message.startswith("--time-limit 5 s is too short: on this machine (2 cores) the first")
    assert "useful network of cascade takes 1:15 min" in message
    cluster = dataclasses.replace(
        found,
        machine=dataclasses.replace(
            found.machine, on_cluster=True, machine=Machine(("0",), 8, 8 << 30)
        ),
    )
    message = time_plan.describe_minimum(cluster, "5 s")
    assert "on 1 GPU of the cluster the first useful network" in message


def test_results_are_better_with_more_time_and_impossible_with_too_little(tmp_path: Path) -> None:
    names = ["cascade", "multi-branch"]
    short, middle, long = (
        estimate_results(names, limit, tmp_path, tmp_path) for limit in (1.0, 1800.0, 36000.0)
    )
    assert not any(result.is_possible for result in short.values())
    assert all(result.rmse is None for result in short.values())
    first, second = middle["cascade"], long["cascade"]
    assert first.is_possible
    assert first.rmse is not None
    assert second.rmse is not None
    assert second.rmse <= first.rmse
    assert second.rank <= first.rank < short["cascade"].rank


def test_the_estimate_for_the_measured_time_is_the_measured_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As many training faces as in the measurement: 2,637, with five folds.
    labels = face_counts.make_labels(3296, 1231, 1152)
    monkeypatch.setattr(face_counts, "read_labels", lambda _: labels)
    text = 'architecture = "deep15"\nepochs = {}\n[reached]\nrmse = 1.7\nminutes = 20\n'
    names = []
    for epochs in (10, 100):  # 20 minutes are enough for about 14
        names.append(str(tmp_path / f"deep15-{epochs}.toml"))
        Path(names[-1]).write_text(text.format(epochs), encoding="utf-8")
    measured, longer = (estimate_results(names, limit, tmp_path, tmp_path) for limit in (1200, 9e4))
    for name in names:
        rmse = measured[name].rmse
        assert rmse is not None
        assert rmse == pytest.approx(1.7, rel=0.04)  # one or two networks
    short, slow = (longer[name].rmse for name in names)
    assert short is not None and slow is not None
    assert slow < short - 0.1


def test_no_score_is_estimated_from_an_error_on_a_part_of_the_face(tmp_path: Path) -> None:
    for name in ("eyes-nose", "mouth-eyebrows"):
        found = estimate_results([name], 36000.0, tmp_path, tmp_path)[name]
        assert found.is_possible
        assert found.rmse is None


def test_results_are_described() -> None:
    result = TimedResult(1.234, 70.0, 2, 12.4, True)
    assert time_plan.describe_result(result) == ("1.23", "2 networks, 12 epochs")
    once = dataclasses.replace(result, epochs=1.4)
    assert time_plan.describe_result(once) == ("1.23", "2 networks, 1 epoch")
    one = dataclasses.replace(result, rmse=None, members=1, epochs=0.4)
    assert time_plan.describe_result(one) == ("not measured", "1 network, less than an epoch")
    for seconds, text in ((70.0, "70 s"), (600.0, "10 min"), (9000.0, "2.5 h")):
        late = dataclasses.replace(result, is_possible=False, minimum=seconds)
        assert time_plan.describe_result(late) == ("–", f"needs {text}")
    unknown = dataclasses.replace(result, rmse=None)
    late = dataclasses.replace(result, rmse=None, is_possible=False)
    assert sorted([late, unknown, result], key=lambda one: one.rank) == [result, unknown, late]


def test_members_are_described_by_recipe() -> None:
    members = make_plan(TrainingOptions(("deep15",), folds=7)).members
    assert time_plan.describe_members(members[:1]) == "deep15, fold 0"
    assert time_plan.describe_members(members[:3]) == "deep15, folds 0–2"
    # Some members of a resumed run are trained already.
    chosen = [members[fold] for fold in (6, 0, 1, 3, 5)]
    assert time_plan.describe_members(chosen) == "deep15, folds 0–1, 3, 5–6"
    assert time_plan.describe_members([members[0]] * 2) == "deep15, fold 0"
