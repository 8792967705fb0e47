"""Estimates before a training, and the lines about them; nothing is trained or measured."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from fkd_kaggle.display import time_plan
from fkd_kaggle.ensemble import run_times, training_estimate
from fkd_kaggle.ensemble.training_estimate import (
    TimedResult,
    TrainingEstimate,
    estimate_results,
    estimate_training,
    fitting_ensembles,
)
from fkd_kaggle.recipes.plans import Plan, TrainingOptions, make_plan
from fkd_kaggle.workers.calibration import REFERENCE_CORE
from fkd_kaggle.workers.devices import Machine


@pytest.fixture(autouse=True)
def reference_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this machine be two idle cores of the reference machine."""
    monkeypatch.setattr(run_times, "measure_core", lambda: REFERENCE_CORE)
    monkeypatch.setattr(run_times, "inspect_machine", lambda: Machine((), 2, 8 << 30))
    # The competition's number of faces, whatever data there is.
    monkeypatch.setattr(training_estimate, "training_faces", lambda *arguments: 6344)


def estimate(plan: Plan, tmp_path: Path, time_limit: float | None) -> TrainingEstimate:
    """Estimate the training of all members of a plan."""
    return estimate_training(plan, plan.members, tmp_path, tmp_path, time_limit=time_limit)


def test_a_short_limit_trains_a_part_of_the_plan(tmp_path: Path) -> None:
    plan = make_plan(TrainingOptions(("standard",)))
    short = estimate(plan, tmp_path, 600.0)
    assert 0 < len(short.plan.members) < len(plan.members)
    assert short.full == plan.ensemble.minutes * 60
    assert 0 < short.minimum < 600
    line = time_plan.describe_estimate(short, ["quick"])
    count = len(short.plan.members)
    assert line.startswith(f"10:00 min on 2 cores: {count} of {len(plan.members)} networks (")
    assert "--recipe quick fits; the full plan takes about" in line


def test_without_a_limit_all_members_are_trained(tmp_path: Path) -> None:
    plan = make_plan(TrainingOptions(("deep15",)))
    found = estimate(plan, tmp_path, None)
    assert found.plan.members == plan.members
    line = time_plan.describe_estimate(found)
    assert line.startswith("expected duration: about ")
    assert " on 2 cores (" in line
    assert fitting_ensembles(found, plan) == []


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
    monkeypatch.setattr(training_estimate, "training_faces", lambda *arguments: 2637)
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
    one = dataclasses.replace(result, rmse=None, members=1, epochs=0.4)
    assert time_plan.describe_result(one) == ("not measured", "1 network, less than an epoch")
    for seconds, text in ((70.0, "70 s"), (600.0, "10 min"), (9000.0, "2.5 h")):
        late = dataclasses.replace(result, is_possible=False, minimum=seconds)
        assert time_plan.describe_result(late) == ("–", f"needs {text}")
    unknown = dataclasses.replace(result, rmse=None)
    late = dataclasses.replace(result, rmse=None, is_possible=False)
    assert sorted([late, unknown, result], key=lambda one: one.rank) == [result, unknown, late]


def test_members_are_described_by_recipe() -> None:
    members = make_plan(TrainingOptions(("deep15",), folds=3)).members
    assert time_plan.describe_members(members[:1]) == "deep15, fold 0"
    assert time_plan.describe_members(members) == "deep15, folds 0–2"
