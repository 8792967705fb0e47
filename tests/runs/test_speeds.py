"""Tests of the speeds that runs remember."""

from __future__ import annotations

from pathlib import Path

from fkd_kaggle.recipes.plans import TrainingOptions, make_plan
from fkd_kaggle.runs import speeds
from fkd_kaggle.runs.folder import Run
from fkd_kaggle.runs.history import read_histories, write_history


def make_run(runs_dir: Path, *recipes: str) -> Run:
    """Create a run without any training."""
    return Run.create(runs_dir, None, make_plan(TrainingOptions(recipes)), "digest")


def write_epochs(run: Run, member: int, rows: list[tuple[float, int]]) -> None:
    """Write the history of a member: seconds and images after each epoch."""
    folder = run.member_folder(run.plan.members[member].name)
    folder.mkdir(parents=True, exist_ok=True)
    history = [
        {"epoch": number, "seconds": seconds, "images": images}
        for number, (seconds, images) in enumerate(rows, start=1)
    ]
    write_history(folder, history)


def test_the_first_epoch_includes_compilation_and_is_left_out(tmp_path: Path) -> None:
    run = make_run(tmp_path, "quick")
    write_epochs(run, 0, [(30.0, 100), (31.0, 300), (32.0, 500)])
    assert list(speeds.measured_speeds(run, {}).values()) == [200.0]


def test_a_network_of_one_epoch_is_not_measured(tmp_path: Path) -> None:
    """Otherwise one short training makes every later time limit look too short."""
    run = make_run(tmp_path, "quick")
    write_epochs(run, 0, [(26.0, 76)])
    assert speeds.measured_speeds(run, {}) == {}


def test_members_and_epochs_of_earlier_trainings_are_not_measured(tmp_path: Path) -> None:
    """They may come from another machine, such as a Kaggle kernel."""
    run = make_run(tmp_path, "deep15", "eyes-nose")
    fast = [(2.0, 10_000), (3.0, 20_000), (4.0, 30_000)]
    write_epochs(run, 0, fast)
    write_epochs(run, 1, fast)
    before = read_histories(run)
    assert speeds.measured_speeds(run, before) == {}
    first = run.plan.members[0].recipe.digest
    # The first epoch after the start compiles the network again.
    write_epochs(run, 0, [*fast, (40.0, 30_100), (41.0, 30_200), (42.0, 30_300)])
    assert speeds.measured_speeds(run, before) == {first: 100.0}
    # A killed training resumes from a checkpoint that is older than its history.
    write_epochs(run, 0, [*fast[:1], (40.0, 10_100), (41.0, 10_200)])
    assert speeds.measured_speeds(run, before) == {first: 100.0}


def test_speeds_of_earlier_trainings_on_the_machine_are_kept(tmp_path: Path) -> None:
    run = make_run(tmp_path, "quick")

    def remember(machine: str, core: float, found: dict[str, float], gpus: int = 0) -> object:
        remembered = speeds.RememberedSpeeds(machine, core, found)
        speeds.remember_speeds(run, remembered, gpus=gpus)
        return speeds.recall_speeds(tmp_path, machine)[-1].images_per_second

    assert remember("here", 1e11, {"a": 10.0, "b": 20.0}) == {"a": 10.0, "b": 20.0}
    # The stored speeds belong to one speed of a core.
    assert remember("here", 2e11, {"b": 30.0}) == {"a": 20.0, "b": 30.0}
    assert remember("here", 1e11, {"b": 30.0}, gpus=1) == {"a": 20.0, "b": 30.0}
    assert remember("elsewhere", 1e11, {"b": 40.0}) == {"b": 40.0}
    assert speeds.recall_speeds(tmp_path, "here") == []


def test_damaged_files_and_folders_without_a_run_are_ignored(tmp_path: Path) -> None:
    run = make_run(tmp_path, "quick")
    path = run.path / "speed.json"
    path.write_text("{}", encoding="utf-8")
    assert speeds.recall_speeds(tmp_path, "here") == []
    speeds.remember_speeds(run, speeds.RememberedSpeeds("here", 1e11, {"a": 1.0}), gpus=0)
    assert len(speeds.recall_speeds(tmp_path, "here")) == 1
    other = tmp_path / "other"
    other.mkdir()
    (other / "speed.json").write_bytes(path.read_bytes())
    assert len(speeds.recall_speeds(tmp_path, "here")) == 1
