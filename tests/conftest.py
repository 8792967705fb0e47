"""Shared fixtures: a tiny competition, a practice Kaggle, the command line, optional real data.

Tests in subfolders import helper functions with ``from conftest import …`` (``pythonpath`` in
pyproject.toml). Tests that use real data take the fixture ``optional_data``; it needs the
environment variable FKD_TEST_DATA, a folder with ``competition/``, ``photos/``, ``reference/`` and
``cases/``, and skips the test without it. ``.ci/run`` sets the variable where such a folder lies
beside the checkout.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fkd_kaggle.cli import app
from fkd_kaggle.data import csv_format
from fkd_kaggle.data.faces import Faces, Lookup
from fkd_kaggle.keypoints import NUM_KEYPOINTS, PARTIAL_KEYPOINTS
from fkd_kaggle.practice.server import PracticeKaggle

# Shells have background jobs ignore it, and all that they start: tests that press Ctrl-C as well.
signal.signal(signal.SIGINT, signal.default_int_handler)

TRAIN = 24

TEST = 16

SECRET = "c0ffee5ec2e7"

PracticeFactory = Callable[..., PracticeKaggle]


def make_faces(count: int, seed: int, first_id: int = 1) -> Faces:
    """Return noise images with made-up keypoints; every second face has the four points only."""
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (count, 96, 96), dtype=np.uint8)
    middle = np.linspace(20, 76, NUM_KEYPOINTS)[None, :, None]
    keypoints = (middle + random.normal(0, 3, (count, NUM_KEYPOINTS, 2))).astype(np.float32)
    others = [point for point in range(NUM_KEYPOINTS) if point not in PARTIAL_KEYPOINTS]
    keypoints[1::2, others] = np.nan
    return Faces(images, keypoints, np.arange(first_id, first_id + count))


def write_competition(folder: Path, train: int = TRAIN, test: int = TEST) -> Path:
    """Write the competition's files for made-up faces; return the solution, which lies beside."""
    folder.mkdir(parents=True)
    csv_format.write_training_csv(folder / "training.csv", make_faces(train, seed=1))
    held = make_faces(test, seed=2)
    csv_format.write_test_csv(folder / "test.csv", held)
    rows, features = np.nonzero(np.isfinite(held.keypoints.reshape(test, -1)))
    row_ids = np.arange(1, len(rows) + 1)
    lookup = Lookup(row_ids, held.ids[rows], features.astype(np.int16))
    csv_format.write_lookup_csv(folder / "IdLookupTable.csv", lookup)
    sample = "".join(f"{row},0\n" for row in row_ids)
    (folder / "SampleSubmission.csv").write_text("RowId,Location\n" + sample)
    solution = folder.parent / "solution.csv"
    answers = held.keypoints.reshape(test, -1)[rows, features]
    text = "".join(f"{row},{value}\n" for row, value in zip(row_ids, answers, strict=True))
    solution.write_text("RowId,Location\n" + text)
    return solution


@pytest.fixture(scope="session")
def competition_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The competition's four files, plain; the answers are ``competition_dir.parent/solution.csv``.

    24 training and 16 test faces. Not to be written to.
    """
    folder = tmp_path_factory.mktemp("competition") / "data"
    write_competition(folder)
    return folder


@pytest.fixture(scope="session")
def solution_csv(competition_dir: Path) -> Path:
    """The answers to ``competition_dir``."""
    return competition_dir.parent / "solution.csv"


@pytest.fixture(scope="session")
def optional_data() -> Path:
    """The folder of real data that FKD_TEST_DATA names; skips the test without it."""
    folder = os.environ.get("FKD_TEST_DATA")
    if not folder:
        pytest.skip("FKD_TEST_DATA names no folder of real data")
    return Path(folder)


@pytest.fixture
def start_practice(
    competition_dir: Path,
    solution_csv: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[PracticeFactory]:
    """Start practice Kaggles, stopped after the test; this package talks to the last one.

    By default it serves ``competition_dir`` with its answers, on a free port. The home folder is
    an empty one: no test finds the developer's own credentials.
    """
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_API_TOKEN", "KAGGLE_CONFIG_DIR"):
        monkeypatch.delenv(name, raising=False)
    with ExitStack() as stack:

        def start(data: Path | None = competition_dir, **options: Any) -> PracticeKaggle:
            if data == competition_dir and "hold_out" not in options:
                options.setdefault("solution", solution_csv)
            options.setdefault("state_dir", tmp_path / "practice-state")
            options.setdefault("port", 0)
            kaggle = stack.enter_context(PracticeKaggle(data, **options))
            for name, value in kaggle.environment.items():
                monkeypatch.setenv(name, value)
            return kaggle

        yield start


@pytest.fixture
def practice(start_practice: PracticeFactory) -> PracticeKaggle:
    """A running practice Kaggle with ``competition_dir``; this package talks to it."""
    return start_practice()


def run_kaggle(url: str, home: Path, *arguments: str) -> str:
    """Run the kaggle command's own main, its table of endpoints pointing at ``url``.

    The command asks no environment but LOCALHOST for its endpoint, and that means port 80.
    """
    script = (
        "import sys; from kagglesdk import kaggle_env as env\n"
        f"env._env_to_endpoint[env.KaggleEnv.PROD] = {url + '/api'!r}\n"
        "sys.argv[0] = 'kaggle'; from kaggle.cli import main; main()"
    )
    return run([sys.executable, "-c", script, *arguments], home, {})


def run(command: list[str], home: Path, more: dict[str, str]) -> str:
    """Run a command with credentials and an empty home folder; return what it prints."""
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(home),
        "KAGGLE_USERNAME": "ada", "KAGGLE_KEY": SECRET, **more,
    }  # fmt: skip
    done = subprocess.run(
        command, env=environment, cwd=home, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@dataclass(frozen=True)
class Said:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def all(self) -> str:
        return self.out + self.err


Command = Callable[..., Said]


@pytest.fixture
def fkd(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Command]:
    """Run ``fkd-kaggle`` in this process, in an empty folder, through its real entry point."""
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.chdir(place)
    handler = signal.getsignal(signal.SIGTERM)

    def run(*arguments: str | Path) -> Said:
        monkeypatch.setattr(sys, "argv", ["fkd-kaggle", *map(str, arguments)])
        capfd.readouterr()
        code: object = 0
        try:
            app.main()
        except SystemExit as end:
            code = end.code or 0
        out, err = capfd.readouterr()
        assert isinstance(code, int)
        return Said(code, out, err)

    yield run
    signal.signal(signal.SIGTERM, handler)


def refused(said: Said, *words: str) -> str:
    """Check that a command ended with one line for its user, and return the line."""
    assert said.code == 2, said.all
    line = said.err.removesuffix("\n")
    assert "\n" not in line, line
    assert "Traceback" not in said.all
    for word in words:
        assert word in line, line
    return line
