"""Tests of the commands, run against a practice Kaggle."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer
from conftest import (
    TINY_CNN,
    Command,
    PracticeFactory,
    assert_one_line_error,
    make_faces,
    write_competition,
)

from fkd_kaggle.cli.app import app
from fkd_kaggle.data.csv_format import write_training_csv
from fkd_kaggle.display import console
from fkd_kaggle.practice.server import PracticeKaggle
from fkd_kaggle.recipes import loading, schema

REGION = """
architecture = "region"
region = "eyes-nose"
epochs = 1
batch_size = 8
options = { filters = [4], dense = 4 }
"""

WHOLE_FACE = """
architecture = "heatmap"
epochs = 1
batch_size = 8
heatmap_loss = 0.5
options = { width = 8, depth = 1 }
"""

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
"""Lets child processes import the package, installed or not."""

HELP_SECONDS = 0.15
"""Time limit of ``--help`` on an idle machine."""


def recipe(text: str = REGION, name: str = "tiny") -> Path:
    """Write a recipe file to the current folder and return its path."""
    path = Path(f"{name}.toml")
    path.write_text(text)
    return path


def leftovers(folder: Path) -> list[str]:
    """Return the temporary files that an interrupted write would leave."""
    return [str(path) for path in folder.rglob(".tmp-*")]


def test_help_is_instant_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; from fkd_kaggle.cli import app as cli; sys.argv = ['fkd-kaggle', '--help']\n"
        "try:\n    cli.main()\n"
        "except SystemExit:\n"
        "    heavy = ('tensorflow', 'keras', 'kaggle', 'numpy', 'pandas', 'flask', 'matplotlib')\n"
        "    print(sorted(name for name in heavy if name in sys.modules), file=sys.stderr)\n"
    )
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert done.stderr == "[]\n"
        assert "train-ensemble" in done.stdout
    print(f"fkd-kaggle --help: {min(seconds):.2f} s, at most {HELP_SECONDS} s on an idle machine")
    # Processor time, because other processes may be running; it is longer on busy cores.
    # `dev.py coverage` traces each line of the command.
    assert min(seconds) < (6 if "coverage" in sys.modules else 2) * HELP_SECONDS


def command_names(group: typer.Typer = app, prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return the words of every command of the command line."""
    names: list[tuple[str, ...]] = []
    for command in group.registered_commands:
        assert command.callback is not None
        name = command.name or command.callback.__name__.replace("_", "-")
        names.append((*prefix, name))
    for subgroup in group.registered_groups:
        assert subgroup.typer_instance is not None
        name = str(subgroup.typer_instance.info.name)
        names += command_names(subgroup.typer_instance, (*prefix, name))
    return names


@pytest.mark.parametrize("command", command_names(), ids=" ".join)
def test_every_command_has_a_help_text(fkd: Command, command: tuple[str, ...]) -> None:
    result = fkd(*command, "--help")
    assert result.code == 0
    assert f" {' '.join(command)} [OPTIONS]" in result.out.splitlines()[0]
    assert "--help" in result.out


def test_version_option_prints_the_version_of_the_package(fkd: Command) -> None:
    from fkd_kaggle.settings import __version__

    assert fkd("--version").out == f"fkd-kaggle {__version__}\n"


def test_recipes_lists_networks_and_ensembles(fkd: Command) -> None:
    out = fkd("recipes").out
    for name in ("deep15", "eyes-nose", "mouth-eyebrows", "smoke"):
        assert name in out
    # Publication, number of parameters and published error.
    (farhat,) = [line for line in out.splitlines() if line.startswith("farhat ")]
    for part in ("7,268,670", "0.0011"):
        assert part in farhat
    assert "farhat's system" in " ".join(out.split())


def test_recipes_prints_a_loadable_file(fkd: Command) -> None:
    Path("mine.toml").write_text(fkd("recipes", "farhat").out, encoding="utf-8")
    mine, farhat = loading.load_recipe("mine.toml"), loading.load_recipe("farhat")
    assert isinstance(mine, schema.Recipe) and isinstance(farhat, schema.Recipe)
    assert mine.digest == farhat.digest
    assert fkd("recipes", "farhut").code == 2


@pytest.mark.slow
def test_fetch_train_and_submit_give_a_scored_submission(
    fkd: Command, practice: PracticeKaggle
) -> None:
    result = fkd("fetch")
    assert result.code == 0, result.all
    assert "training faces" in result.out
    files = {path.name for path in Path("data").iterdir()}
    assert {"training.csv", "test.csv", "IdLookupTable.csv", "SampleSubmission.csv"} <= files

    before = Path("data/training.csv").stat().st_mtime_ns
    practice.faults.add("503:times=all")  # a second fetch sends no request
    assert "--force" in fkd("fetch").out
    practice.faults.clear()
    assert Path("data/training.csv").stat().st_mtime_ns == before
    assert fkd("fetch", "--force").code == 0

    result = fkd(
        "train-ensemble",
        "-r",
        recipe(WHOLE_FACE, "whole"),
        "-r",
        recipe(),
        "--folds",
        "2",
        "--precision",
        "float32",
        "--name",
        "first",
    )
    assert result.code == 0, result.all
    assert "expected on the leaderboard" in result.out
    assert "whole alone" in result.out
    assert "mean face" in result.out
    assert "next: train longer" in result.out
    for name in ("report.html", "run.json"):
        assert (Path("runs/first") / name).stat().st_size > 0
    assert "finished" in fkd("runs").out

    dry = fkd("submit", "--dry-run")
    assert dry.code == 0, dry.all
    assert "not uploaded" in dry.out
    assert practice.store.submissions() == []
    assert "not uploaded" in fkd("submissions", "--local").out

    # Networks cannot learn anything from noise: they are not better than a constant predictor.
    refused = fkd("submit", "first", "-m", "hello")
    assert refused.code == 2
    assert "mean face" in refused.out and "--yes" in refused.err
    assert practice.store.submissions() == []
    result = fkd("submit", "first", "-m", "hello", "--yes")
    assert result.code == 0, result.all
    assert "score: " in result.out and "public" in result.out
    assert "submissions left today: 4" in result.out
    (uploaded,) = practice.store.submissions()
    assert uploaded.message == "hello"

    note = json.loads(Path("submissions", uploaded.file_name).with_suffix(".json").read_text())
    info = json.loads(Path("runs/first/run.json").read_text())
    assert note["run"] == "first"
    assert note["recipes"] == info["recipes"]
    assert set(note["recipes"]) == {"whole", "tiny"}
    assert note["scores"]["combined"] == info["scores"]["combined"]
    assert note["kaggle"]["public_score"] == pytest.approx(uploaded.public_score, abs=1e-4)

    result = fkd("predict", "first")
    assert result.code == 0, result.all
    (written,) = [Path(line.split()[-1]) for line in result.out.splitlines() if "wrote" in line]
    assert len(practice.store.submissions()) == 1
    result = fkd("submit", "--file", written, "--yes")
    assert result.code == 0, result.all
    assert "submissions left today: 3" in result.out

    listed = fkd("submissions").out
    assert uploaded.file_name in listed and written.name in listed
    assert f"{uploaded.public_score:.3f}" in listed
    table = fkd("leaderboard").out
    assert "practice" in table and f"{uploaded.public_score:.3f}" in table
    assert leftovers(Path()) == []


def test_submission_without_a_solution_is_reported_as_not_scored(
    fkd: Command, start_practice: PracticeFactory, competition_dir: Path
) -> None:
    start_practice(competition_dir, solution=None)
    fkd("fetch")
    result = fkd("submit", "--file", write_constant_submission())
    assert result.code == 0, result.all
    assert "not scored" in result.out
    assert "submissions left today: 4" in result.out
    assert "not scored" in fkd("submissions").out


def write_constant_submission() -> Path:
    """Write a submission whose values are all 40; return its path."""
    sample = Path("data/SampleSubmission.csv").read_text()
    path = Path("submissions/constant.csv")
    path.parent.mkdir(exist_ok=True)
    path.write_text(sample.replace(",0\n", ",40\n"))
    return path


def test_empty_lists_name_the_next_command(fkd: Command, practice: PracticeKaggle) -> None:
    assert "no run in runs yet" in fkd("runs").out
    assert "fkd-kaggle submit" in fkd("submissions").out


def test_missing_credentials_name_the_page_that_creates_them(
    fkd: Command, practice: PracticeKaggle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KAGGLE_API_ENVIRONMENT")
    for command in ("fetch", "submit", "submissions", "leaderboard"):
        assert_one_line_error(fkd(command), "credentials", "https://www.kaggle.com/settings")
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("401", ["credentials"]),
        ("403", ["rules", "https://www.kaggle.com/c/facial-keypoints-detection/rules"]),
        ("404", ["facial-keypoints-detection"]),
        ("429:times=all,retry_after=9999", ["429"]),
    ],
)
def test_refused_request_prints_one_line_and_writes_no_file(
    fkd: Command,
    practice: PracticeKaggle,
    fault: str,
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KAGGLE_USERNAME", "ada")
    monkeypatch.setenv("KAGGLE_KEY", "s3cr3t")
    practice.faults.add(fault)
    result = fkd("fetch")
    assert_one_line_error(result, *words)
    assert "s3cr3t" not in result.all
    assert [path for path in Path().rglob("*") if path.is_file()] == []
    assert_one_line_error(fkd("leaderboard"), *words)


def test_repeated_request_is_announced(fkd: Command, practice: PracticeKaggle) -> None:
    practice.faults.add("429:times=1,retry_after=1")
    result = fkd("leaderboard")
    assert result.code == 0, result.all
    assert "trying again in 1 s" in result.out


@pytest.mark.slow
def test_interrupted_download_resumes(fkd: Command, practice: PracticeKaggle) -> None:
    practice.faults.add("cut-download:after=2000")
    result = fkd("fetch")
    assert result.code == 0, result.all
    assert "24" in result.out


def test_corrupt_download_is_refused_and_deleted(fkd: Command, practice: PracticeKaggle) -> None:
    practice.faults.add("corrupt:times=all")
    assert_one_line_error(fkd("fetch"), "damaged")
    assert [path for path in Path().rglob("*") if path.is_file()] == []


def test_daily_limit_is_reported(fkd: Command, practice: PracticeKaggle) -> None:
    fkd("fetch")
    practice.faults.add("limit")
    assert_one_line_error(fkd("submit", "--file", write_constant_submission()), "submissions")
    assert practice.store.submissions() == []


def test_missing_practice_kaggle_names_the_command_that_starts_it(
    fkd: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "TEST")
    monkeypatch.setenv("FKD_PRACTICE_URL", f"http://localhost:{port}")
    assert_one_line_error(fkd("leaderboard"), str(port), "fkd-kaggle practice")


def test_port_in_use_is_reported(fkd: Command) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert_one_line_error(fkd("practice", "--port", port), f"port {port} is taken", "--port")
    assert not Path("practice").exists()


def damage_training_csv(folder: Path) -> None:
    path = folder / "training.csv"
    header, first, *rest = path.read_text().splitlines(keepends=True)
    path.write_text("".join([header, first.rsplit(" ", 1)[0] + " 256\n", *rest]))


def damage_lookup_table(folder: Path) -> None:
    path = folder / "IdLookupTable.csv"
    path.write_text(path.read_text().replace(",16,", ",999,"))


@pytest.mark.parametrize(
    ("damage", "words"),
    [(damage_training_csv, ["training.csv", "256"]), (damage_lookup_table, ["999"])],
)
def test_invalid_data_is_named_by_every_command_that_reads_it(
    fkd: Command, tmp_path: Path, damage: Callable[[Path], None], words: list[str]
) -> None:
    write_competition(Path("data").resolve())
    damage(Path("data"))
    assert_one_line_error(fkd("fetch"), *words)
    if damage is damage_training_csv:
        assert_one_line_error(fkd("train-ensemble", "-r", recipe(), "--folds", "2"), *words)


@pytest.mark.slow
def test_run_of_another_data_set_is_refused(fkd: Command, trained_place: Path) -> None:
    shutil.copytree(trained_place, Path(), dirs_exist_ok=True)
    write_training_csv(Path("data/training.csv"), make_faces(24, seed=9))
    assert_one_line_error(
        fkd("train-ensemble", "--resume", "tiny-1"), "another data set", "--data-dir"
    )
    assert_one_line_error(fkd("submit", "--dry-run"), "another data set")
    assert not Path("submissions").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train-ensemble", "--recipe", "deep51"], ["deep51", "deep15"]),
        (["train-ensemble", "--recipe", "none.toml"], ["none.toml"]),
        (["train-ensemble", "--time-limit", "soon"], ["soon", "20m"]),
        (["train-ensemble", "--time-limit", "0m"], ["0m"]),
        (["train-ensemble", "--folds", "1"], ["folds"]),
        (["train-ensemble", "--epochs", "0"], ["epochs"]),
        (["train-ensemble", "--batch-size", "0"], ["batch"]),
        (["train-ensemble", "--precision", "float8"], ["float8"]),
        (["train-ensemble", "--resume", "nowhere"], ["nowhere", "fkd-kaggle runs"]),
        (["train-ensemble", "--resume", "x", "--epochs", "3"], ["--epochs"]),
        (["train-ensemble"], ["training.csv", "fkd-kaggle fetch"]),
        (["submit", "--dry-run"], ["no run in runs", "--runs-dir", "train-ensemble"]),
        (["submit", "nowhere", "--dry-run"], ["nowhere"]),
        (["submit", "--file", "no.csv", "--dry-run"], ["no.csv"]),
        (["submit", "a", "--file", "no.csv"], ["not both"]),
        (["predict", "nowhere"], ["nowhere"]),
        (["practice", "--data", "nowhere.zip", "--port", "0"], ["nowhere.zip"]),
        (["practice", "--fault", "flood", "--port", "0"], ["flood"]),
    ],
)
def test_user_error_is_one_line(fkd: Command, arguments: list[str], words: list[str]) -> None:
    assert_one_line_error(fkd(*arguments), *words)
    assert not Path("runs").exists()


def test_missing_run_names_the_folder_that_was_searched(fkd: Command) -> None:
    assert str(Path("runs").absolute()) in fkd("submit", "--dry-run").err


def test_deprecated_recipe_key_prints_one_note(fkd: Command) -> None:
    result = fkd("train-ensemble", "--recipe", "heatmap:missing=mean")
    note, error = result.err.splitlines()
    assert note.startswith("note: ") and "missing" in note and "imputation" in note
    assert error.startswith("error: ")


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--data-dir", "--runs-dir", "--submissions-dir"])
def test_unwritable_folder_is_named(
    fkd: Command, practice: PracticeKaggle, trained_place: Path, option: str
) -> None:
    Path("file").write_text("")
    where = "file/inside"
    if option == "--data-dir":
        assert_one_line_error(fkd("fetch", option, where), "file is a file")
        return
    shutil.copytree(trained_place, Path(), dirs_exist_ok=True)
    if option == "--runs-dir":
        command: tuple[str | Path, ...] = ("train-ensemble", "-r", recipe(), "--folds", "2")
    else:
        command = ("predict",)
    assert_one_line_error(fkd(*command, option, where), where)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["data", "submissions"])
def test_full_disk_is_reported_and_leaves_no_partial_file(
    fkd: Command, practice: PracticeKaggle, trained_place: Path, small_disk: Path, name: str
) -> None:
    """The disk has 100 kB: too small for the download, and for a submission beside a file."""
    if name == "data":
        assert_one_line_error(
            fkd("fetch", "--data-dir", small_disk), "disk full", "free some space"
        )
    else:
        shutil.copytree(trained_place, Path(), dirs_exist_ok=True)
        (small_disk / "film.mp4").write_bytes(bytes(95_000))
        assert_one_line_error(
            fkd("predict", "--submissions-dir", small_disk), "disk full", "free some space"
        )
    left = [path.name for path in small_disk.rglob("*") if path.is_file()]
    assert left == ([] if name == "data" else ["film.mp4"])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 100 kB; skips the test without the permission to mount it."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.getuid() != 0:
        pytest.skip("mounting a small disk needs root")
    done = subprocess.run([mount, "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(disk)])
    if done.returncode != 0:
        pytest.skip("this machine does not allow mounts")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_disk_error_without_a_file_name_has_no_traceback(
    fkd: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fkd_kaggle.runs import overview

    def full(_: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(overview, "list_folders", full)
    assert_one_line_error(fkd("runs"), "No space left on device")


LONG = TINY_CNN.replace("epochs = 1", 'epochs = 100000\nschedule = "constant"\npatience = 100000')


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "fkd_kaggle", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )


def wait_for(path: Path, process: subprocess.Popen[str], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        if process.poll() is not None:
            pytest.fail(f"ended early: {process.communicate()}")
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.05)


def trained_epochs(run: Path) -> int:
    (note,) = run.glob("members/*-f0/progress.json")
    return int(json.loads(note.read_text())["epoch"])


@pytest.mark.slow
@pytest.mark.usefixtures("eager_functions")
def test_kill_9_and_ctrl_c_leave_a_run_that_resumes(fkd: Command) -> None:
    """Three trainings of one run: killed, then resumed and interrupted, then resumed again."""
    write_competition(Path("data").resolve())
    run = Path("runs/long")
    options = ("--name", "long", "--precision", "float32")
    process = start("train-ensemble", "-r", str(recipe(LONG, "long")), "--folds", "2", *options)
    wait_for(run / "members/long-f0/progress.json", process)
    process.kill()
    process.communicate()
    killed_at = trained_epochs(run)

    process = start("train-ensemble", "--resume", "long")
    end = time.monotonic() + 120
    while trained_epochs(run) <= killed_at:
        if process.poll() is not None:
            pytest.fail(f"ended early: {process.communicate()}")
        assert time.monotonic() < end, "no epoch was trained"
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == console.INTERRUPTED, out + err
    assert "Traceback" not in err
    assert f"resumes after epoch {killed_at}" in out
    assert "--resume long" in out
    assert json.loads((run / "run.json").read_text())["status"] == "interrupted"
    assert fkd("submit", "--dry-run").code == 0
    interrupted_at = trained_epochs(run)

    began = time.monotonic()
    result = fkd("train-ensemble", "--resume", "long", "--workers", "0", "--time-limit", "25s")
    seconds = time.monotonic() - began
    assert result.code == 0, result.all
    assert f"resumes after epoch {interrupted_at}" in result.out
    assert trained_epochs(run) > interrupted_at
    assert "(time limit)" in result.out  # of a member
    assert seconds < 90  # 25 s on a busy machine
    assert leftovers(run) == []  # resuming also removes those of the killed process
    assert fkd("submit", "--dry-run").code == 0
