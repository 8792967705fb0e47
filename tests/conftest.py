"""Shared fixtures: a tiny competition, a practice Kaggle, the command line, optional real data.

Tests in subfolders import helper functions with ``from conftest import …`` (``pythonpath`` in
pyproject.toml). Tests that use real data take the fixture ``optional_data``; it needs the
environment variable FKD_TEST_DATA, a folder with ``competition/``, ``photos/``, ``reference/`` and
``cases/``, and skips the test without it. ``.ci/run`` sets the variable where such a folder lies
beside the checkout.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pytest

from fkd_kaggle import errors, user_code
from fkd_kaggle.data import csv_format
from fkd_kaggle.data.faces import Faces, Lookup
from fkd_kaggle.keypoints import NUM_KEYPOINTS, PARTIAL_KEYPOINTS

if TYPE_CHECKING:
    from fkd_kaggle.practice.server import PracticeKaggle
    from fkd_kaggle.runs.folder import Run

# pytest-xdist starts one process per core. Threads of several processes would wait for each other,
# which takes a third more processor time. TensorFlow reads the variables when it is imported.
for _threads in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(_threads, "1")

# Shells let background jobs and their children ignore SIGINT, but tests send it to children.
signal.signal(signal.SIGINT, signal.default_int_handler)

TRAIN = 24
"""Number of training faces in ``competition_dir``."""

TEST = 16
"""Number of test faces in ``competition_dir``."""

SECRET = "c0ffee5ec2e7"
"""The Kaggle key in tests of the official client."""

PracticeFactory: TypeAlias = "Callable[..., PracticeKaggle]"
"""A function that starts a practice Kaggle; see ``start_practice``."""


def make_faces(count: int, seed: int, first_id: int = 1) -> Faces:
    """Return noise images with random keypoints; every second face has only the four points."""
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (count, 96, 96), dtype=np.uint8)
    middle = np.linspace(20, 76, NUM_KEYPOINTS)[None, :, None]
    keypoints = (middle + random.normal(0, 3, (count, NUM_KEYPOINTS, 2))).astype(np.float32)
    others = [point for point in range(NUM_KEYPOINTS) if point not in PARTIAL_KEYPOINTS]
    keypoints[1::2, others] = np.nan
    return Faces(images, keypoints, np.arange(first_id, first_id + count))


def write_same_faces(folder: Path) -> Path:
    """Write the competition's files with the same training face nine times; return the folder."""
    write_competition(folder)
    faces = make_faces(1, seed=1)
    images, keypoints = (np.repeat(array, 9, 0) for array in (faces.images, faces.keypoints))
    csv_format.write_training_csv(folder / "training.csv", Faces(images, keypoints, np.arange(9)))
    return folder


def write_competition(folder: Path, train: int = TRAIN, test: int = TEST) -> Path:
    """Write the competition's files for random faces; return the path of the solution."""
    folder.mkdir(parents=True)
    csv_format.write_training_csv(folder / "training.csv", make_faces(train, seed=1))
    test_faces = make_faces(test, seed=2)
    csv_format.write_test_csv(folder / "test.csv", test_faces)
    rows, features = np.nonzero(np.isfinite(test_faces.keypoints.reshape(test, -1)))
    row_ids = np.arange(1, len(rows) + 1)
    lookup = Lookup(row_ids, test_faces.ids[rows], features.astype(np.int16))
    csv_format.write_lookup_csv(folder / "IdLookupTable.csv", lookup)
    sample = "".join(f"{row},0\n" for row in row_ids)
    (folder / "SampleSubmission.csv").write_text("RowId,Location\n" + sample)
    solution = folder.parent / "solution.csv"
    values = test_faces.keypoints.reshape(test, -1)[rows, features]
    text = "".join(f"{row},{value}\n" for row, value in zip(row_ids, values, strict=True))
    solution.write_text("RowId,Location\n" + text)
    return solution


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name bytes by their length: archives contain the time, and the processes of pytest-xdist,
    which collect the tests one after another, must give the same names.
    """
    return f"{argname}-{len(val)}-bytes" if isinstance(val, bytes) else None


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not import files with slow tests only, if slow tests are not wanted: it takes seconds."""
    if config.option.markexpr != "not slow" or collection_path.suffix != ".py":
        return None
    return "\npytestmark = pytest.mark.slow\n" in collection_path.read_text("utf-8") or None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the files with slow tests first, so that no process has a long file left at the end.

    pytest-xdist's own order starts the files with the most tests first, and trainings have few.
    """
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True, scope="session")
def trust_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the list of trusted code of the user who runs the tests unchanged."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(user_code.TRUST_FILE, str(tmp_path_factory.mktemp("trust") / "code.txt"))
        yield


@pytest.fixture(autouse=True)
def no_known_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the secrets of earlier tests, which would be redacted in later messages."""
    monkeypatch.setattr(errors, "_known_secrets", set())


@pytest.fixture(autouse=True)
def default_dtype_policy() -> Iterator[None]:
    """Undo a change of Keras' global dtype policy, which the next test would inherit."""
    yield
    if "keras" in sys.modules:
        import keras

        keras.config.set_dtype_policy("float32")


@pytest.fixture
def eager_functions() -> Iterator[None]:
    """Run TensorFlow's functions eagerly: tracing takes longer than a tiny training."""
    with eager():
        yield


@contextmanager
def eager() -> Iterator[None]:
    """Run TensorFlow's functions eagerly within the context."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)


TINY_CNN = """
architecture = "plain-cnn"
epochs = 1
batch_size = 8
augmentation = "none"

[options]
filters = [4]
pool_after = [1]
normalise = "none"
dense = []
"""
"""Text of a recipe for whole faces that trains fastest, where the network does not matter."""


@pytest.fixture(scope="session")
def trained_place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``data``, as ``competition_dir``, and the run ``runs/tiny-1``; read only.

    The run has two members, trained with ``TINY_CNN``. Copy the folder to change it.
    """
    from fkd_kaggle.ensemble import fitting
    from fkd_kaggle.recipes import plans

    folder = tmp_path_factory.mktemp("trained")
    write_competition(folder / "data")
    (folder / "tiny.toml").write_text(TINY_CNN)
    options = plans.TrainingOptions([str(folder / "tiny.toml")], folds=2, precision="float32")
    run = fitting.start_run(folder / "runs", "tiny-1", plans.make_plan(options), folder / "data")
    with eager():
        fitting.train_run(run, folder / "data")
    return folder


@pytest.fixture(scope="session")
def competition_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the competition's four files, for 24 training and 16 test faces; read only.

    The solution is ``competition_dir.parent/solution.csv``.
    """
    folder = tmp_path_factory.mktemp("competition") / "data"
    write_competition(folder)
    return folder


@pytest.fixture(scope="session")
def solution_csv(competition_dir: Path) -> Path:
    """The solution of ``competition_dir``."""
    return competition_dir.parent / "solution.csv"


@pytest.fixture(scope="session")
def report_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The competition's files for 150 synthetic training faces and 40 test faces; read only."""
    from report_runs import make_data

    return make_data(tmp_path_factory.mktemp("report"), training=150, test=40)


@pytest.fixture(scope="session")
def report_run(report_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A blended run of two recipes and two folds on ``report_data``; read only, but for its page.

    The first recipe is better. One label of row 5 is far from where both models expect it.
    """
    from report_runs import make_run

    return make_run(report_data, tmp_path_factory.mktemp("runs"), "one", noise=1.0)


@pytest.fixture(scope="session")
def optional_data() -> Path:
    """The folder of real data that FKD_TEST_DATA names; skips the test without it."""
    folder = os.environ.get("FKD_TEST_DATA")
    if not folder:
        pytest.skip("FKD_TEST_DATA names no folder of real data")
    return Path(folder)


@pytest.fixture(scope="session")
def prepared_practice(
    competition_dir: Path, solution_csv: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A state folder with ``competition_dir`` and its solution prepared for serving; read only."""
    from fkd_kaggle.practice import dataset

    folder = tmp_path_factory.mktemp("prepared")
    dataset.prepare_dataset(folder, dataset.PracticeData(competition_dir, solution=solution_csv))
    return folder


@pytest.fixture
def start_practice(
    competition_dir: Path,
    solution_csv: Path,
    prepared_practice: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[PracticeFactory]:
    """A function that starts a practice Kaggle; this package uses the one that started last.

    By default it serves ``competition_dir`` with its solution on a free port. It stops after the
    test. The home folder is empty, so that tests do not use the developer's credentials.
    """
    from fkd_kaggle.practice.dataset import PracticeData
    from fkd_kaggle.practice.server import PracticeKaggle

    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_API_TOKEN", "KAGGLE_CONFIG_DIR"):
        monkeypatch.delenv(name, raising=False)
    with ExitStack() as stack:

        def start(data: Path | None = competition_dir, **options: Any) -> PracticeKaggle:
            if data == competition_dir and "hold_out" not in options:
                options.setdefault("solution", solution_csv)
            fields = {field.name for field in dataclasses.fields(PracticeData)}
            source = {name: options.pop(name) for name in fields & set(options)}
            if "state_dir" not in options:
                options["state_dir"] = tmp_path / "practice-state"
                prepared = (data, source) == (competition_dir, {"solution": solution_csv})
                if prepared and not options["state_dir"].exists():
                    # Preparing the data takes three quarters of the time that a start takes.
                    shutil.copytree(prepared_practice, options["state_dir"])
            options.setdefault("port", 0)
            kaggle = stack.enter_context(PracticeKaggle(PracticeData(data, **source), **options))
            for name, value in kaggle.environment.items():
                monkeypatch.setenv(name, value)
            return kaggle

        yield start


@pytest.fixture
def practice(start_practice: PracticeFactory) -> PracticeKaggle:
    """A running practice Kaggle that serves ``competition_dir``; this package uses it."""
    return start_practice()


def run_kaggle(url: str, home: Path, *arguments: str) -> str:
    """Run the command ``kaggle`` against the practice Kaggle at ``url``; return its output.

    The command itself can only reach a practice Kaggle on port 80, so its endpoint is replaced.
    """
    script = (
        "import sys; from kagglesdk import kaggle_env as env\n"
        f"env._env_to_endpoint[env.KaggleEnv.PROD] = {url + '/api'!r}\n"
        "sys.argv[0] = 'kaggle'; from kaggle.cli import main; main()"
    )
    return run([sys.executable, "-c", script, *arguments], home, {})


def run(command: list[str], home: Path, more: dict[str, str]) -> str:
    """Run a command with credentials and an empty home folder; return its standard output."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "KAGGLE_USERNAME": "ada",
        "KAGGLE_KEY": SECRET,
        **more,
    }
    done = subprocess.run(
        command, env=environment, cwd=home, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@dataclass(frozen=True)
class CommandResult:
    """Exit code and output of a command."""

    code: int
    out: str
    err: str

    @property
    def all(self) -> str:
        """Return standard output and standard error."""
        return self.out + self.err


Command = Callable[..., CommandResult]


@pytest.fixture
def fkd(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Command]:
    """A function that runs ``fkd-kaggle`` in this process, in an empty folder."""
    from fkd_kaggle.cli import app

    folder = tmp_path / "place"
    folder.mkdir()
    monkeypatch.chdir(folder)
    handler = signal.getsignal(signal.SIGTERM)

    def run(*arguments: str | Path) -> CommandResult:
        monkeypatch.setattr(sys, "argv", ["fkd-kaggle", *map(str, arguments)])
        capfd.readouterr()
        code: object = 0
        try:
            app.main()
        except SystemExit as end:
            code = end.code or 0
        out, err = capfd.readouterr()
        assert isinstance(code, int)
        return CommandResult(code, out, err)

    yield run
    signal.signal(signal.SIGTERM, handler)


def assert_one_line_error(result: CommandResult, *words: str) -> str:
    """Check that a command failed with one line on stderr that contains ``words``; return it."""
    assert result.code == 2, result.all
    line = result.err.removesuffix("\n")
    assert "\n" not in line, line
    assert "Traceback" not in result.all
    for word in words:
        assert word in line, line
    return line
