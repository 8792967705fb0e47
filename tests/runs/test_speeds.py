"""Tests of the speeds that runs remember."""

from __future__ import annotations

from pathlib import Path

from fkd_kaggle.recipes.plans import TrainingOptions, make_plan
from fkd_kaggle.runs import speeds
from fkd_kaggle.runs.folder import Run
from fkd_kaggle.runs.history import write_history


def remembered(runs_dir: Path, rows: list[tuple[float, int]]) -> dict[str, float]:
    """Return what a run remembers whose first member has these seconds and images by epoch."""
    plan = make_plan(TrainingOptions(("quick",)))
    run = Run.create(runs_dir, None, plan, "digest")
    member = plan.members[0]
    folder = run.member_folder(member.name)
    folder.mkdir(parents=True)
    history = [
        {"epoch": number, "seconds": seconds, "images": images}
        for number, (seconds, images) in enumerate(rows, start=1)
    ]
    write_history(folder, history)
    speeds.remember_speeds(run, "machine", 1e11)
    found = speeds.recall_speeds(runs_dir, "machine")
    return dict(found[-1].images_per_second) if found else {}


def test_the_first_epoch_includes_compilation_and_is_left_out(tmp_path: Path) -> None:
    (speed,) = remembered(tmp_path, [(30.0, 100), (31.0, 300), (32.0, 500)]).values()
    assert speed == 200.0


def test_a_network_of_one_epoch_is_not_remembered(tmp_path: Path) -> None:
    """Otherwise one short training makes every later time limit look too short."""
    assert remembered(tmp_path, [(26.0, 76)]) == {}
