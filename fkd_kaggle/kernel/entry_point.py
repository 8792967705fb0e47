"""What runs inside a kernel: find the data, train or gather, write the submission.

Called by the kernel's script with the package unpacked. Prints plain lines, since a kernel's log
knows no cursor; writes to the kernel's working folder and a temporary one only.

``FKD_KAGGLE_ROOT`` stands in for ``/kaggle`` where a kernel runs elsewhere.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from fkd_kaggle import files
from fkd_kaggle.ensemble.shards import merge_shards
from fkd_kaggle.errors import FkdError
from fkd_kaggle.kernel import environment
from fkd_kaggle.kernel.job import KernelTask
from fkd_kaggle.settings import __version__
from fkd_kaggle.workers import devices

if TYPE_CHECKING:
    from rich.console import Console

    from fkd_kaggle.runs.folder import Run
    from fkd_kaggle.runs.scores import Scores

_INTERRUPTED = 130


def main(job_json: str) -> int:
    """Do a kernel's job and return its exit code: 0, or 2 after one line on what is wrong."""
    began = time.monotonic()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    # A batch system that ends us gets what Ctrl-C gives: what is trained so far, blended.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    root = Path(os.environ.get("FKD_KAGGLE_ROOT", "/kaggle"))
    try:
        versions, gpus = environment.check_versions(), devices.list_gpus()
        print(
            f"fkd-kaggle {__version__}, Keras {versions['keras']}, "
            f"TensorFlow {versions['tensorflow']}, GPUs: {len(gpus) or 'none'}",
            flush=True,
        )
        with tempfile.TemporaryDirectory(prefix="fkd-data-") as temporary:
            return _run_task(KernelTask.from_json(job_json), root, Path(temporary), began)
    except FkdError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr, flush=True)
        return _INTERRUPTED


def _run_task(job: KernelTask, root: Path, temporary: Path, began: float) -> int:
    from rich.console import Console

    console = Console(force_terminal=False, no_color=True, width=120)
    working = root / "working"
    data_dir = environment.link_competition_files(root / "input", temporary / "data")
    if job.gather:
        run, scores = _blend_shards(job, root, data_dir, console)
    else:
        run, scores = _train(job, root, data_dir, console, began)
    status = run.status
    if job.submits:
        _submission(run, data_dir, temporary, working / "submission.csv", console)
        _report(run, data_dir, console)
        _print_table(scores, console)
    _print(console, f"{run.name}: {status} after {time.monotonic() - began:.0f} s")
    return _INTERRUPTED if status == "interrupted" else 0


def _train(
    job: KernelTask, root: Path, data_dir: Path, console: Console, began: float
) -> tuple[Run, Scores]:
    """Train the job's members within its time; blend them if they are all there is."""
    from fkd_kaggle import pipeline
    from fkd_kaggle.display.training import TrainingDisplay

    run = pipeline.create_run(job.plan, data_dir, root / "working", job.run_name)
    only = None if job.shard is None else [member.name for member in job.members]
    with TrainingDisplay(console) as display:
        scores = pipeline.train(
            run, data_dir, time_limit=_time_limit(job, began), only=only, on_event=display
        )
    return run, scores


def _blend_shards(
    job: KernelTask, root: Path, data_dir: Path, console: Console
) -> tuple[Run, Scores]:
    """Put the shards' members into one run and blend them."""
    from fkd_kaggle.ensemble import fitting

    run = fitting.start_run(root / "working", job.run_name, job.plan, data_dir)
    shards = environment.find_input_runs(root / "input", job.run_name)
    missing = merge_shards(shards, run)
    names = [member.name for member in job.members]
    there = f"{len(names) - len(missing)} of {len(names)} members"
    _print(console, f"run {run.name}: {there} from {len(shards)} of {len(job.gather)} kernels")
    if missing:
        _print(console, f"not trained, the blend goes without them: {', '.join(missing)}")
    endings = [shard.status for shard in shards if shard.status != "finished"]
    status = endings[0] if endings else "failures" if missing else "finished"
    return run, fitting.blend_run(run, data_dir, status=status)


def _time_limit(job: KernelTask, began: float) -> float:
    """Return the seconds training may take: the plan's, but no more than the session leaves."""
    margin = min(300.0, 0.1 * job.session_limit)  # for blend, submission and report
    left = job.session_limit - margin - (time.monotonic() - began)
    return min(left, job.plan.time_limit or left)


def _submission(run: Run, data_dir: Path, temporary: Path, target: Path, console: Console) -> None:
    from fkd_kaggle import pipeline

    written = pipeline.write_run_submission(run, data_dir, temporary / "submissions")
    with files.atomic_path(target) as path:
        shutil.copyfile(written, path)
    _print(console, f"wrote {target}")


def _report(run: Run, data_dir: Path, console: Console) -> None:
    """Draw the run's page; a picture that fails does not spoil hours of training."""
    try:
        from fkd_kaggle.report.run import write_run_page

        page = write_run_page(run, data_dir)
    except Exception as error:
        _print(console, f"no report ({type(error).__name__}: {error})")
    else:
        _print(console, f"report: {page}")


def _print_table(scores: Scores, console: Console) -> None:
    from fkd_kaggle.display import tables

    console.print(tables.scores_table(scores))


def _print(console: Console, line: str) -> None:
    console.print(line, highlight=False, soft_wrap=True, markup=False)
