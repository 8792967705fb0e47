"""Entry point of a kernel: its steps, which the kernel's script or notebook calls one by one.

A kernel unpacks the package, opens a :class:`KernelRun` and calls its steps. The steps print plain
lines, because the log of a kernel is no terminal, and write only to the working folder and to a
temporary folder.

The environment variable ``FKD_KAGGLE_ROOT`` replaces the folder ``/kaggle``, so that a script can
run on another machine.
"""

from __future__ import annotations

import os
import platform
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from fkd_kaggle import files, user_code
from fkd_kaggle.ensemble.shards import merge_shards
from fkd_kaggle.errors import FkdError, redact
from fkd_kaggle.formatting import one_line
from fkd_kaggle.kernel import environment
from fkd_kaggle.kernel.job import KernelTask, training_time
from fkd_kaggle.runs.machine import Machine, write_machine
from fkd_kaggle.settings import __version__
from fkd_kaggle.workers import devices

if TYPE_CHECKING:
    from rich.console import Console

    from fkd_kaggle.runs.folder import Run
    from fkd_kaggle.runs.scores import Scores

_INTERRUPTED: Final = 130
"""Exit code after an interruption."""

_RESULTS: Final = 10.0
"""Seconds of the plan's time limit that are kept for the submission."""


class KernelRun:
    """The steps of a kernel, as a context manager that turns errors into one line.

    Call ``check_machine``, ``find_data``, ``train`` (or ``blend``), ``write_submission``,
    ``write_report`` and ``print_scores`` in this order.

    Parameters
    ----------
    task_json
        The task, as ``KernelTask.to_json`` wrote it.

    Attributes
    ----------
    task : KernelTask
        What the kernel does.
    exit_code : int
        0; the error's ``exit_code`` after an error, which is printed as one line; 130 after an
        interruption.
    """

    def __init__(self, task_json: str) -> None:
        self._began = time.monotonic()
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        os.environ.setdefault("KERAS_BACKEND", "tensorflow")
        if threading.current_thread() is threading.main_thread():
            # SIGTERM has the effect of Ctrl-C: the members trained so far are blended.
            signal.signal(signal.SIGTERM, signal.default_int_handler)
        self._root = Path(os.environ.get("FKD_KAGGLE_ROOT", "/kaggle"))
        self._temporary = tempfile.TemporaryDirectory(prefix="fkd-data-")
        self._data_dir = Path(self._temporary.name) / "data"
        self._console = _plain_console()
        self._machine: Machine | None = None
        self._run: Run | None = None
        self._scores: Scores | None = None
        self.exit_code = 0
        self.task = KernelTask.from_json(task_json)
        for line in self.task.plan.ensemble.members:
            # The user has packed the files that the recipes name, with this script.
            user_code.trust(line.recipe.code)

    @property
    def run(self) -> Run:
        """Return the run in the working folder.

        Raises
        ------
        FkdError
            Neither ``train`` nor ``blend`` was called.
        """
        if self._run is None:
            raise FkdError("no network is trained yet: call train() or blend() first")
        return self._run

    @property
    def scores(self) -> Scores:
        """Return the run's cross-validated scores.

        Raises
        ------
        FkdError
            Neither ``train`` nor ``blend`` was called.
        """
        if self._scores is None:
            raise FkdError("no network is trained yet: call train() or blend() first")
        return self._scores

    def check_machine(self) -> None:
        """Print versions and GPUs; raise KernelError if the image is too old."""
        versions, gpus = environment.check_versions(), devices.list_gpus()
        image = os.environ.get("KAGGLE_DOCKER_IMAGE", "")
        self._machine = Machine(platform.python_version(), versions, image, len(gpus))
        self._print(
            f"fkd-kaggle {__version__}, Keras {versions['keras']}, "
            f"TensorFlow {versions['tensorflow']}, GPUs: {len(gpus) or 'none'}"
        )

    def find_data(self) -> None:
        """Find the competition's files among the inputs; raise DataError if they are missing."""
        environment.link_competition_files(self._root / "input", self._data_dir)

    def train(self) -> None:
        """Train the task's members within the time; a kernel without shards blends them."""
        from fkd_kaggle import pipeline
        from fkd_kaggle.display.training import TrainingDisplay
        from fkd_kaggle.ensemble import run_blend
        from fkd_kaggle.runs.scores import NO_SCORES

        task = self.task
        corrections = None
        if task.corrections:
            corrections = Path(self._temporary.name) / "corrections.csv"
            files.write_text(corrections, task.corrections)
        run = pipeline.create_run(
            task.plan,
            self._data_dir,
            self._root / "working",
            task.run_name,
            corrections=corrections,
        )
        self._run = run
        only = None if task.shard is None else [member.name for member in task.members]
        with TrainingDisplay(self._console) as display:
            self._scores = pipeline.train(
                run, self._data_dir, time_limit=self._time_limit(), only=only, on_event=display
            )
        if task.submits and self._scores == NO_SCORES:
            # Training was interrupted before it blended: submit what there is.
            self._scores = run_blend.blend_run(run, self._data_dir)
        self._write_machine()

    def blend(self) -> None:
        """Merge the members that other kernels have trained, and blend them."""
        from fkd_kaggle.ensemble import fitting, run_blend

        task = self.task
        run = fitting.start_run(self._root / "working", task.run_name, task.plan, self._data_dir)
        self._run = run
        shards = environment.find_input_runs(self._root / "input", task.run_name)
        missing = merge_shards(shards, run)
        count = len(task.members)
        self._print(
            f"run {run.name}: {count - len(missing)} of {count} networks "
            f"from {len(shards)} of {len(task.gather)} kernels"
        )
        if missing:
            self._print(f"not trained, the blend goes without them: {', '.join(missing)}")
        endings = [shard.status for shard in shards if shard.status != "finished"]
        status = endings[0] if endings else "failures" if missing else "finished"
        self._scores = run_blend.blend_run(run, self._data_dir, status=status)
        self._write_machine()

    def write_submission(self) -> None:
        """Predict the test faces and write ``submission.csv``."""
        target = self._root / "working" / "submission.csv"
        _write_submission(self.run, self._data_dir, target)
        self._print(f"wrote {target}")

    def write_report(self) -> list[Path]:
        """Write the run's figures and return their paths.

        The page ``report.html`` is written where the run is collected: its scripts are not packed.
        A failure is printed instead of raised, to keep the trained run.
        """
        try:
            from fkd_kaggle.report.run_figures import write_run_figures

            return write_run_figures(self.run, self._data_dir)
        except Exception as error:
            self._print(f"no figures ({type(error).__name__}: {error})")
            return []

    def print_scores(self) -> None:
        """Print the table of scores with the expected score."""
        from fkd_kaggle.display import tables

        self._console.print(tables.scores_table(self.scores))

    def close(self) -> None:
        """Print how the run has ended, and remove the temporary files."""
        if self._run is not None and self.exit_code == 0:
            status = self._run.status
            self._print(f"{self._run.name}: {status} after {time.monotonic() - self._began:.0f} s")
            self.exit_code = _INTERRUPTED if status == "interrupted" else 0
        self._temporary.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        """Print an error of this package as one line; other exceptions keep their traceback."""
        if isinstance(error, FkdError):
            print(one_line(redact(f"error: {error}")), file=sys.stderr, flush=True)
            self.exit_code = error.exit_code
        elif isinstance(error, KeyboardInterrupt):
            print("interrupted", file=sys.stderr, flush=True)
            self.exit_code = _INTERRUPTED
        self.close()
        return isinstance(error, FkdError | KeyboardInterrupt)

    def _time_limit(self) -> float:
        """Return the seconds for training and blend, or less if the session ends earlier.

        The plan's limit counts from the kernel's start and includes submission and figures.
        """
        limit = training_time(self.task.session_limit)
        if self.task.plan.time_limit is not None:
            # ``pipeline.train`` keeps time for the blend and the report.
            reserve = min(_RESULTS, 0.05 * self.task.plan.time_limit) if self.task.submits else 0.0
            limit = min(limit, self.task.plan.time_limit - reserve)
        return limit - (time.monotonic() - self._began)

    def _write_machine(self) -> None:
        if self._machine is not None:
            write_machine(self.run.path, self._machine)

    def _print(self, line: str) -> None:
        """Print a line without markup and without line breaks."""
        self._console.print(line, highlight=False, soft_wrap=True, markup=False)


def main(task_json: str) -> int:
    """Run all steps of a kernel's task and return the exit code, see :class:`KernelRun`."""
    with KernelRun(task_json) as kernel:
        kernel.check_machine()
        kernel.find_data()
        if kernel.task.gather:
            kernel.blend()
        else:
            kernel.train()
        if kernel.task.submits:
            kernel.write_submission()
            kernel.write_report()
            kernel.print_scores()
    return kernel.exit_code


def _plain_console() -> Console:
    from rich.console import Console

    return Console(force_terminal=False, force_jupyter=False, no_color=True, width=120)


def _write_submission(run: Run, data_dir: Path, target: Path) -> None:
    """Predict the test faces and write the submission to ``target``.

    Does not use ``pipeline.write_run_submission``: its file names need python-slugify, which the
    kernel's script does not contain.
    """
    from fkd_kaggle.data import dataset, submission
    from fkd_kaggle.ensemble import prediction

    test, lookup = dataset.read_test_and_lookup(data_dir)
    # After the time limit, members that were not finished are left out, as in the blend.
    predictions = prediction.predict_run(
        run, data_dir, test, lookup.annotators(test.ids), reblend=run.status != "time limit"
    )
    built = submission.build_submission(predictions, test.ids, lookup)
    submission.validate_submission(built, lookup)
    text = submission.submission_text(built.row_ids.tolist(), built.locations.tolist())
    files.write_text(target, text)
