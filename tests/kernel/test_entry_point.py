"""The entry point of kernels: built scripts run with nothing but Kaggle's folders and packages."""

from __future__ import annotations

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from conftest import TINY_CNN, write_competition

from fkd_kaggle.data import archive, dataset
from fkd_kaggle.ensemble import fitting
from fkd_kaggle.errors import RunError
from fkd_kaggle.kernel import build, entry_point, names
from fkd_kaggle.kernel.environment import link_competition_files
from fkd_kaggle.kernel.job import KernelTask, blend_task, shard_tasks
from fkd_kaggle.recipes import plans
from fkd_kaggle.runs.corrections import load_run_corrections
from fkd_kaggle.runs.folder import Run
from fkd_kaggle.workers import local
from fkd_kaggle.workers.devices import Slot

COMPETITION = "facial-keypoints-detection"

HEATMAP = """
architecture = "heatmap"
epochs = 1
batch_size = 8
heatmap_loss = 0.5
options = { width = 8, depth = 1 }
"""

CORRECTIONS = "row,keypoint,x,y\n1,nose_tip,40,41\n2,nose_tip,,\n"
KERNELS = ["someone/shard-0", "someone/shard-1"]
"""The kernels of ``shards``."""

# What Kaggle's image may lack; `python -I` because a kernel sees no folder of ours.
ALONE = """
import runpy, sys
for name in ("kaggle", "kagglesdk", "flask", "typer", "slugify", "hypothesis", "pytest"):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@dataclass(frozen=True)
class Ended:
    """What a kernel left."""

    code: int
    out: str
    err: str
    seconds: float
    working: Path

    def locations(self) -> np.ndarray:
        with (self.working / "submission.csv").open(newline="") as stream:
            return np.array([float(row["Location"]) for row in csv.DictReader(stream)])


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kernel") / "data"
    write_competition(folder, train=40, test=12)
    return folder


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> KernelTask:
    recipe = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    recipe.write_text(TINY_CNN)
    return KernelTask(
        plans.make_plan(plans.TrainingOptions([str(recipe)], folds=2, precision="float32")),
        "tiny-1",
        corrections=CORRECTIONS,
    )


def start(folder: Path, job: KernelTask, **environment: str) -> subprocess.Popen[str]:
    """Build a kernel and run its script, with Kaggle's folders in ``folder``."""
    slug = names.slug_for(job.run_name, job.shard)
    kernel = build.write_kernel(
        folder / "src", job, owner="someone", slug=slug, title=names.title_for(slug)
    )
    (folder / "working").mkdir()
    return subprocess.Popen(
        [sys.executable, "-I", "-c", ALONE, str(kernel / "train_ensemble.py")],
        cwd=folder / "working", text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "FKD_KAGGLE_ROOT": str(folder), **environment},
    )  # fmt: skip


def finished(process: subprocess.Popen[str], folder: Path, began: float) -> Ended:
    out, err = process.communicate(timeout=900)
    print(out, err)
    seconds = time.monotonic() - began
    return Ended(process.returncode, out, err, seconds, folder / "working")


def mounted(folder: Path, data: Path, where: str) -> Path:
    """Mount the competition's plain files as Kaggle might."""
    place = folder / "input" / where
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(data)
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, data: Path, job: KernelTask) -> Ended:
    """All members in one kernel with two GPUs; the files lie zipped, as Kaggle has them."""
    folder = tmp_path_factory.mktemp("whole")
    place = folder / "input" / COMPETITION
    place.mkdir(parents=True)
    for name in archive.CONTENTS:
        if name in ("training.csv", "test.csv"):
            with zipfile.ZipFile(place / name.replace(".csv", ".zip"), "w") as packed:
                packed.write(data / name, name)
        else:
            (place / name).write_bytes((data / name).read_bytes())
    for path in (*place.iterdir(), place):
        path.chmod(0o555)
    began = time.monotonic()
    return finished(start(folder, job, FKD_SIMULATED_GPUS="2"), folder, began)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory, data: Path, job: KernelTask) -> list[Ended]:
    """The same members in two kernels that run side by side."""
    folders = [tmp_path_factory.mktemp(f"shard{number}") for number in range(2)]
    began = time.monotonic()
    running = [
        start(mounted(folder, data, where), one)
        for folder, one, where in zip(
            folders, shard_tasks(job, 2), (COMPETITION, f"competitions/{COMPETITION}"), strict=True
        )
    ]
    return [finished(one, folder, began) for one, folder in zip(running, folders, strict=True)]


@pytest.mark.slow
def test_a_kernel_leaves_its_run_and_a_submission_and_nothing_else(
    whole: Ended, job: KernelTask, data: Path
) -> None:
    assert whole.code == 0, whole.err
    assert {path.name for path in whole.working.iterdir()} == {"tiny-1", "submission.csv"}
    run = Run.open(whole.working / "tiny-1")
    assert run.status == "finished"
    assert run.plan == job.plan
    assert np.isfinite(whole.locations()).all()
    assert (run.path / "curves.png").exists()
    assert not (run.path / "report.html").exists(), "written where the run is collected"
    for member in job.members:
        assert (run.member_folder(member.name) / "best.weights.h5").exists()
    rows = (data / "SampleSubmission.csv").read_text().count("\n") - 1
    assert len(whole.locations()) == rows


@pytest.mark.slow
def test_its_log_is_plain_lines_that_end_in_the_scores(whole: Ended) -> None:
    assert "\x1b" not in whole.out
    assert "\r" not in whole.out
    lines = whole.out.splitlines()
    assert re.fullmatch(r"fkd-kaggle \S+, Keras 3\S+, TensorFlow 2\S+, GPUs: 2", lines[0])
    assert "2 networks, 40 faces, 2 networks at a time, float32" in lines[1]
    assert any("[2/2] tiny-f1" in line for line in lines)
    assert any(line.startswith("expected on the leaderboard") for line in lines[-3:])
    # TensorFlow logs some lines, such as "E0000 … oneDNN supports …", before its log is set up.
    own = [line for line in whole.err.splitlines() if not re.match(r"[WE]0000 ", line)]
    assert own == []


@pytest.mark.slow
def test_a_shard_leaves_its_own_members_only(shards: list[Ended], job: KernelTask) -> None:
    for shard, part in zip(shards, shard_tasks(job, 2), strict=True):
        assert shard.code == 0, shard.err
        assert [path.name for path in shard.working.iterdir()] == ["tiny-1"]
        members = {path.name for path in (shard.working / "tiny-1" / "members").iterdir()}
        assert members == {member.name for member in part.members}


@pytest.fixture(scope="module")
def gathered(
    tmp_path_factory: pytest.TempPathFactory, job: KernelTask, data: Path, shards: list[Ended]
) -> Ended:
    """A kernel that blends both shards."""
    folder = mounted(tmp_path_factory.mktemp("gathered"), data, COMPETITION)
    for number, shard in enumerate(shards):
        (folder / "input" / f"shard-{number}").symlink_to(shard.working)
    began = time.monotonic()
    return finished(start(folder, blend_task(job, KERNELS)), folder, began)


@pytest.mark.slow
def test_shards_and_one_kernel_give_the_same_submission(whole: Ended, gathered: Ended) -> None:
    assert gathered.code == 0, gathered.err
    assert "2 of 2 networks from 2 of 2 kernels" in gathered.out
    np.testing.assert_allclose(gathered.locations(), whole.locations(), atol=1e-3)
    assert Run.open(gathered.working / "tiny-1").status == "finished"


@pytest.mark.slow
def test_a_kernel_and_shards_are_trained_and_blended_with_the_corrections_of_the_job(
    whole: Ended, shards: list[Ended], gathered: Ended, data: Path
) -> None:
    training = dataset.read_training(data)
    for ended in (whole, *shards, gathered):
        run = Run.open(ended.working / "tiny-1")
        moved, dropped = load_run_corrections(run, training)
        assert (moved.row, moved.action, moved.x, moved.y) == (1, "moved", 40.0, 41.0)
        assert (dropped.row, dropped.action) == (2, "dropped")


def test_corrections_for_other_faces_are_one_line(
    root: Path, job: KernelTask, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mounted(root, data, COMPETITION)
    wrong = "row,keypoint,x,y,action,label_x,label_y\n1,nose_tip,40,41,moved,1.00,2.00\n"
    line = refusal(replace(job, corrections=wrong), capsys)
    assert "line 2: label_x is 1.00, but training.csv has" in line
    assert not list((root / "working").glob("*"))


@pytest.mark.slow
def test_a_kernel_ends_in_time_with_what_it_has(
    shards: list[Ended], job: KernelTask, data: Path, tmp_path: Path
) -> None:
    """And one member is trained on both devices, in float16: what two T4s do with it."""
    recipe = tmp_path / "tiny.toml"
    forever = 'epochs = 1000000\noptimizer = "muon"\nclip_norm = 0.0'
    recipe.write_text(HEATMAP.replace("epochs = 1", forever))
    plan = plans.make_plan(plans.TrainingOptions([str(recipe)], folds=2, precision="float16"))
    # Measured in what this machine takes for one epoch just now, start and all.
    limit = 2 * max(shard.seconds for shard in shards) + 25
    part = replace(shard_tasks(replace(job, plan=plan), 2)[0], session_limit=limit)
    folder = mounted(tmp_path, data, COMPETITION)
    ended = finished(start(folder, part, FKD_SIMULATED_GPUS="2"), folder, time.monotonic())
    assert ended.code == 0, ended.err
    assert "float16 and float32 numbers on 2 devices each" in ended.out
    assert "time limit" in ended.out
    taken = re.search(r"after (\d+) s$", ended.out.strip())
    assert taken is not None
    assert float(taken[1]) < limit
    member = ended.working / "tiny-1" / "members" / "tiny-f0"
    assert (member / "best.weights.h5").exists()
    with (member / "history.csv").open(newline="") as stream:
        losses = [float(row["loss"]) for row in csv.DictReader(stream)]
    # Two devices' halves of a batch weigh together as much as the whole on one: it starts where
    # the mean face is, as on one device, and learns.
    assert 5 < losses[0] < 40
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]


@pytest.mark.slow
def test_a_kernel_that_is_ended_from_outside_submits_what_it_has(
    job: KernelTask, data: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(TINY_CNN.replace("epochs = 1", "epochs = 1000000"))
    plan = plans.make_plan(plans.TrainingOptions([str(recipe)], folds=2, precision="float32"))
    folder = mounted(tmp_path / "kaggle", data, COMPETITION)
    began = time.monotonic()
    process = start(folder, replace(job, plan=plan), FKD_SIMULATED_GPUS="2")
    assert process.stdout is not None
    for line in process.stdout:
        if "epoch 1/" in line:
            break
    process.send_signal(signal.SIGTERM)
    ended = finished(process, folder, began)
    assert ended.code == 130, ended.err
    assert Run.open(ended.working / "tiny-1").status == "interrupted"
    assert np.isfinite(ended.locations()).all()


@pytest.mark.slow
def test_a_worker_that_cannot_start_says_why(
    job: KernelTask, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = fitting.start_run(tmp_path, "broken", job.plan, data)
    slots = [Slot(gpus=("0",))]
    with (
        pytest.raises(RunError, match="no-data"),
        local.start_workers(run.path, tmp_path / "no-data", slots),
    ):
        pass
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with (
        pytest.raises(RunError, match="on GPU 0 ended with exit code 1 at starting"),
        local.start_workers(run.path, data, slots),
    ):
        pass


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty /kaggle for ``entry_point.main`` in this process."""
    (tmp_path / "input").mkdir()
    monkeypatch.setenv("FKD_KAGGLE_ROOT", str(tmp_path))
    before = signal.getsignal(signal.SIGTERM)
    yield tmp_path
    signal.signal(signal.SIGTERM, before)


@pytest.mark.slow
def test_the_blend_does_without_a_shard_that_failed_and_says_so(
    root: Path, shards: list[Ended], job: KernelTask, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mounted(root, data, COMPETITION)
    (root / "working").mkdir()
    (root / "input" / "shard-0").symlink_to(shards[0].working)
    code = entry_point.main(blend_task(job, KERNELS).to_json())
    blend = Ended(code, *capsys.readouterr(), 0.0, root / "working")
    assert blend.code == 0, blend.err
    assert "1 of 2 networks from 1 of 2 kernels" in blend.out
    assert "the blend goes without them: tiny-f1" in blend.out
    assert np.isfinite(blend.locations()).all()
    assert Run.open(blend.working / "tiny-1").status == "failures"


def refusal(job: KernelTask, capsys: pytest.CaptureFixture[str]) -> str:
    assert entry_point.main(job.to_json()) == 2
    line = capsys.readouterr().err
    assert line.startswith("error: ")
    assert line.count("\n") == 1
    return line


def test_no_data_is_one_line_that_says_what_is_there(
    root: Path, job: KernelTask, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "what is there: nothing" in refusal(job, capsys)
    (root / "input" / "other").mkdir()
    (root / "input" / "other" / "images.npy").touch()
    line = refusal(job, capsys)
    assert "no training.csv, no test.csv, no IdLookupTable.csv" in line
    assert "other/images.npy" in line
    assert "joined the competition" in line


def test_a_damaged_zip_is_one_line(
    root: Path, job: KernelTask, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "input" / "training.zip").write_bytes(b"PK\x03\x04 cut")
    assert "training.zip is damaged" in refusal(job, capsys)


def test_a_blend_without_any_shard_is_one_line(
    root: Path, job: KernelTask, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mounted(root, data, COMPETITION)
    line = refusal(blend_task(job, ["someone/a"]), capsys)
    assert "no kernel has left a run tiny-1 among the inputs" in line


@pytest.mark.slow
def test_shards_of_another_plan_are_refused(
    root: Path, job: KernelTask, data: Path, shards: list[Ended], capsys: pytest.CaptureFixture[str]
) -> None:
    mounted(root, data, COMPETITION)
    (root / "input" / "shard").symlink_to(shards[0].working)
    other = replace(job, plan=replace(job.plan, seed=7))
    assert "trained to another plan" in refusal(blend_task(other, ["someone/a"]), capsys)


def test_the_competitions_own_folder_is_preferred(data: Path, tmp_path: Path) -> None:
    mounted(tmp_path, data, f"deeper/competitions/{COMPETITION}")
    other = tmp_path / "input" / "a-data-set"
    other.mkdir()
    (other / "test.csv").write_text("not it")
    (other / "back").symlink_to(tmp_path / "input")  # a loop must not be walked for ever
    found = link_competition_files(tmp_path / "input", tmp_path / "data")
    assert (found / "test.csv").read_bytes() == (data / "test.csv").read_bytes()
    assert {path.name for path in found.iterdir()} == set(archive.CONTENTS)
