"""Entry point of a kernel: find the data, train or blend, write the submission and the report.

The kernel's script unpacks the package and calls :func:`main`. Prints plain lines, because the log
of a kernel is no terminal, and writes only to the working folder and to a temporary folder.

The environment variable ``FKD_KAGGLE_ROOT`` replaces the folder ``/kaggle``, so that a script can
run on another machine.
"""

from __future__ import annotations

import os
import platform
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from fkd_kaggle import files, user_code
from fkd_kaggle.ensemble.shards import merge_shards
from fkd_kaggle.errors import FkdError
from fkd_kaggle.kernel import environment
from fkd_kaggle.kernel.job import KernelTask, training_time
from fkd_kaggle.runs.machine import Machine, write_machine
from fkd_kaggle.settings import __version__
from fkd_kaggle.workers import devices

if TYPE_CHECKING:
    from rich.console import Console

    from fkd_kaggle.runs.folder import Run
    from fkd_kaggle.runs.scores import Scores

_INTERRUPTED = 130
"""Exit code after an interruption."""


def main(task_json: str) -> int:
    """Run the task of a kernel.

    Parameters
    ----------
    task_json
        The task, as ``KernelTask.to_json`` wrote it.

    Returns
    -------
    int
        Exit code: 0; the error's ``exit_code`` after an error, which is printed as one line; 130
        after an interruption.
    """
    began = time.monotonic()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    # SIGTERM has the effect of Ctrl-C: the members trained so far are blended.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    root = Path(os.environ.get("FKD_KAGGLE_ROOT", "/kaggle"))
    try:
        versions, gpus = environment.check_versions(), devices.list_gpus()
        print(
            f"fkd-kaggle {__version__}, Keras {versions['keras']}, "
            f"TensorFlow {versions['tensorflow']}, GPUs: {len(gpus) or 'none'}",
            flush=True,
        )
        machine = Machine(
            platform.python_version(),
            versions,
            os.environ.get("KAGGLE_DOCKER_IMAGE", ""),
            len(gpus),
        )
        with tempfile.TemporaryDirectory(prefix="fkd-data-") as temporary:
            task = KernelTask.from_json(task_json)
            return _run_task(task, root, Path(temporary), machine, began)
    except FkdError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr, flush=True)
        return _INTERRUPTED


def _run_task(task: KernelTask, root: Path, temporary: Path, machine: Machine, began: float) -> int:
    """Run a task with Kaggle's folders in ``root`` and return the exit code."""
    from rich.console import Console

    console = Console(force_terminal=False, no_color=True, width=120)
    working = root / "working"
    for line in task.plan.ensemble.members:
        # The person who pushed the kernel named this code; nobody else's reaches its script.
        user_code.trust(line.recipe.code)
    data_dir = environment.link_competition_files(root / "input", temporary / "data")
    if task.gather:
        run, scores = _blend_shards(task, root, data_dir, console)
    else:
        run, scores = _train(task, root, data_dir, console, began)
    write_machine(run.path, machine)
    status = run.status
    if task.submits:
        _write_submission(run, data_dir, working / "submission.csv", console)
        _write_report(run, data_dir, console)
        _print_scores(scores, console)
    _print(console, f"{run.name}: {status} after {time.monotonic() - began:.0f} s")
    return _INTERRUPTED if status == "interrupted" else 0


def _train(
    task: KernelTask, root: Path, data_dir: Path, console: Console, began: float
) -> tuple[Run, Scores]:
    """Train the task's members within the time limit; without shards, also blend the members."""
    from fkd_kaggle import pipeline
    from fkd_kaggle.display.training import TrainingDisplay

    run = pipeline.create_run(task.plan, data_dir, root / "working", task.run_name)
    only = None if task.shard is None else [member.name for member in task.members]
    with TrainingDisplay(console) as display:
        scores = pipeline.train(
            run, data_dir, time_limit=_time_limit(task, began), only=only, on_event=display
        )
    return run, scores


def _blend_shards(
    task: KernelTask, root: Path, data_dir: Path, console: Console
) -> tuple[Run, Scores]:
    """Merge the members of the shards into one run and blend them."""
    from fkd_kaggle.ensemble import fitting

    run = fitting.start_run(root / "working", task.run_name, task.plan, data_dir)
    shards = environment.find_input_runs(root / "input", task.run_name)
    missing = merge_shards(shards, run)
    count = len(task.members)
    _print(
        console,
        f"run {run.name}: {count - len(missing)} of {count} members "
        f"from {len(shards)} of {len(task.gather)} kernels",
    )
    if missing:
        _print(console, f"not trained, the blend goes without them: {', '.join(missing)}")
    endings = [shard.status for shard in shards if shard.status != "finished"]
    status = endings[0] if endings else "failures" if missing else "finished"
    return run, fitting.blend_run(run, data_dir, status=status)


def _time_limit(task: KernelTask, began: float) -> float:
    """Return the seconds for training: the plan's limit, or less if the session ends earlier."""
    left = training_time(task.session_limit) - (time.monotonic() - began)
    return min(left, task.plan.time_limit or left)


def _write_submission(run: Run, data_dir: Path, target: Path, console: Console) -> None:
    """Predict the test faces and write the submission to ``target``.

    Does not use ``pipeline.write_run_submission``: its file names need python-slugify, which the
    kernel's script does not contain.
    """
    from fkd_kaggle.data import dataset, submission
    from fkd_kaggle.ensemble import prediction

    test, lookup = dataset.read_test_and_lookup(data_dir)
    predictions = prediction.predict_run(run, data_dir, test, lookup.annotators(test.ids))
    built = submission.build_submission(predictions, test.ids, lookup)
    submission.validate_submission(built, lookup)
    text = submission.submission_text(built.row_ids.tolist(), built.locations.tolist())
    files.write_text(target, text)
    _print(console, f"wrote {target}")


def _write_report(run: Run, data_dir: Path, console: Console) -> None:
    """Write the run's page; print a failure instead of raising it, to keep the trained run."""
    try:
        from fkd_kaggle.report.run import write_run_page

        page = write_run_page(run, data_dir)
    except Exception as error:
        _print(console, f"no report ({type(error).__name__}: {error})")
    else:
        _print(console, f"report: {page}")


def _print_scores(scores: Scores, console: Console) -> None:
    """Print the table of scores."""
    from fkd_kaggle.display import tables

    console.print(tables.scores_table(scores))


def _print(console: Console, line: str) -> None:
    """Print a line without markup and without line breaks."""
    console.print(line, highlight=False, soft_wrap=True, markup=False)
