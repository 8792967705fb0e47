"""Benchmark: every recipe and ensemble, on the same folds, with the same time limit, in one table.

    python tests/benchmarks/leaderboard.py --data competition.zip

A practice Kaggle holds out a fifth of the faces. Each shipped recipe is trained for 20 minutes on
one core, each ensemble on two cores. The table contains out-of-fold, expected and held-out errors.
First all rows are trained with one seed, then the five best rows (out of fold) with three seeds.

The result of a training is saved in ``tests/benchmarks/results`` as soon as it is known. The same
command continues after Ctrl-C, a kill or on another day; a training that was stopped is resumed
with the time that is left. Afterwards the tables in docs/results.md and README.md and ``[reached]``
in the recipe files are written again. Data, runs and logs are in ``--work``.

    … --list                     show what is done and what is missing, with commands
    … --table                    only write the tables again
    … --only cascade quick       these rows only; changes are possible: --only cascade:width=24
    … --only quick --seeds 3 --minutes 5
    … --time-to-score            minutes until quick has a score: 3, 5, 10 and 20, three seeds
    … --only kartalovic-leaky --own-schedule   the publication's own split and epochs, two hours
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

sys.path.append(str(Path(__file__).resolve().parents[1]))

from benchmarks import leaderboard_results as results
from benchmarks import leaderboard_table as table
from benchmarks.leaderboard_training import OWN_MINUTES, Job, Workplace, train

from fkd_kaggle.errors import FkdError
from fkd_kaggle.formatting import format_duration, format_pixels
from fkd_kaggle.practice.storage import lock_state_folder
from fkd_kaggle.recipes import loading
from fkd_kaggle.workers.devices import inspect_machine

_DATA = "FKD_TEST_DATA"

_STOP_SECONDS = 20.0
"""Time for trainings to write their checkpoints after Ctrl-C."""

_INTERRUPTED = 130


def main(arguments: Sequence[str]) -> int:
    """Parse the command line, train what is missing and write the tables."""
    options = _parser().parse_args(arguments)
    if options.child:
        return _train_child(options)
    if options.list:
        print("\n".join(_listing(options)))
        return 0
    code = 0 if options.table else _run(options)
    _write_tables(options)
    if options.time_to_score:
        print(table.render_times(results.read_results(options.results)))
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", metavar="NAME", help="rows to train")
    parser.add_argument("--seeds", type=int, help="seeds of each row; default: see above")
    parser.add_argument("--minutes", type=float, default=results.MINUTES, help="time limit")
    parser.add_argument("--own-schedule", action="store_true", help="the publication's schedule")
    parser.add_argument(
        "--time-to-score", action="store_true", help="minutes until quick has a score"
    )
    parser.add_argument("--data", type=Path, default=_default_data(), help="folder or zip")
    parser.add_argument("--work", type=Path, default=Path("leaderboard-work"))
    parser.add_argument("--results", type=Path, default=results.RESULTS, help="saved results")
    parser.add_argument("--cores", type=int, help="cores to use; default: all")
    parser.add_argument("--list", action="store_true", help="show what is done and missing")
    parser.add_argument("--table", action="store_true", help="only write the tables again")
    parser.add_argument("--child", nargs=2, metavar=("NAME", "SEED"), help=argparse.SUPPRESS)
    return parser


def _default_data() -> Path | None:
    """Return the competition's file in the folder that tests use as well."""
    folder = os.environ.get(_DATA)
    return next(iter(sorted(Path(folder).glob("competition/*.zip"))), None) if folder else None


def wanted(options: argparse.Namespace, saved: Sequence[results.Result]) -> list[Job]:
    """Return the trainings that the options ask for, in order, finished ones included.

    Parameters
    ----------
    options
        The command line.
    saved
        The saved results: the best rows out of fold are trained with more seeds.
    """
    schedule = "own" if options.own_schedule else "equal"
    minutes = OWN_MINUTES if options.own_schedule else options.minutes

    def jobs(names: Sequence[str], seeds: range) -> list[Job]:
        return [Job(name, seed, minutes, schedule) for seed in seeds for name in names]

    if options.time_to_score:
        seeds = range(options.seeds or results.BEST_SEEDS)
        return [Job(results.TIMED, seed, limit) for seed in seeds for limit in results.TIMES]
    if options.only:
        return jobs(options.only, range(options.seeds or 1))
    names = loading.recipe_names()
    if options.own_schedule:
        names = [name for name in names if results.has_own_schedule(name)]
    if options.seeds or options.own_schedule:
        return jobs(names, range(options.seeds or 1))
    first = jobs(names, range(1))
    if any(not is_done(job, saved) for job in first):
        return first
    best = results.best_names(saved, minutes)
    return first + jobs(best, range(1, results.BEST_SEEDS))


def is_done(job: Job, saved: Sequence[results.Result]) -> bool:
    """Return whether a training's result is saved and of the recipe as it is now."""
    return any(
        (one.name, one.seed, one.schedule) == (job.name, job.seed, job.schedule)
        and (one.minutes == job.minutes or job.schedule == "own")
        and results.is_current(one)
        for one in saved
    )


def _listing(options: argparse.Namespace) -> Iterator[str]:
    """Yield a line for each training: done or missing, with its command."""
    saved = results.read_results(options.results)
    jobs = wanted(options, saved)
    done = {job: one for job in jobs for one in saved if is_done(job, [one])}
    for job, one in done.items():
        held_out = format_pixels(one.held_out.combined)
        yield f"done     {job.name:28} seed {job.seed}   {held_out}  {one.commit}"
    for job in jobs:
        if job not in done:
            command = results.command_line(job.name, job.seed + 1, job.minutes, job.schedule)
            yield f"missing  {job.name:28} seed {job.seed}   {command}"
    yield f"{len(done)} of {len(jobs)} trainings are done"


@dataclass
class _Child:
    """A training in a process of its own."""

    job: Job
    cores: int
    process: subprocess.Popen[bytes]
    log: IO[bytes]
    began: float = field(default_factory=time.monotonic)


def _run(options: argparse.Namespace) -> int:
    """Train what is missing, as many at the same time as there are cores; return the exit code."""
    if options.data is None:
        raise SystemExit(f"name the data with --data FILE, or set {_DATA}")
    total = options.cores or inspect_machine().cores
    options.work.mkdir(parents=True, exist_ok=True)
    lock = lock_state_folder(options.work)
    Workplace(options.work).prepare(options.data)  # once, before the trainings need it
    # SIGTERM ends like Ctrl-C: trainings write their checkpoints.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    children: list[_Child] = []
    failed: set[Job] = set()
    try:
        while True:
            _collect(children, failed, options)
            saved = results.read_results(options.results)
            running = {child.job for child in children}
            todo = [
                job
                for job in wanted(options, saved)
                if not is_done(job, saved) and job not in running and job not in failed
            ]
            free = total - sum(child.cores for child in children)
            for job in todo:
                cores = min(2 if results.is_ensemble(job.name) else 1, total)
                if cores <= free:
                    children.append(_start(job, cores, options))
                    free -= cores
            if not children:
                break
            time.sleep(0.5)
    except KeyboardInterrupt:
        _stop(children)
        print("interrupted: the same command continues")
        return _INTERRUPTED
    finally:
        for child in children:
            child.process.kill()
        lock.close()
    return 1 if failed else 0


def _start(job: Job, cores: int, options: argparse.Namespace) -> _Child:
    """Start a training in a process that sees ``cores`` cores."""
    logs = options.work / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    log = (logs / f"{job.title}.log").open("ab")
    arguments = ["--child", job.name, str(job.seed), "--minutes", str(job.minutes)]
    arguments += ["--data", str(options.data), "--work", str(options.work)]
    arguments += ["--results", str(options.results)]
    arguments += ["--own-schedule"] if job.schedule == "own" else []
    process = subprocess.Popen(
        [sys.executable, __file__, *arguments],
        env={**os.environ, "LOKY_MAX_CPU_COUNT": str(cores), "TF_CPP_MIN_LOG_LEVEL": "3"},
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=log,
        # Ctrl-C reaches the training only through ``_stop``.
        start_new_session=True,
    )
    print(f"{job.name}, seed {job.seed}: training on {cores} core(s), log: {log.name}", flush=True)
    return _Child(job, cores, process, log)


def _collect(children: list[_Child], failed: set[Job], options: argparse.Namespace) -> None:
    """Report the trainings that have ended and remove them from the list."""
    for child in [one for one in children if one.process.poll() is not None]:
        children.remove(child)
        child.log.close()
        duration = format_duration(time.monotonic() - child.began)
        job, saved = child.job, results.read_results(options.results)
        if is_done(job, saved):
            (one,) = (one for one in saved if is_done(job, [one]))
            said = f"{format_pixels(one.held_out.combined)} px held out"
            # After each training, so that a killed benchmark leaves a complete page.
            _write_tables(options)
        else:
            failed.add(job)
            said = f"failed with exit code {child.process.returncode}, see {child.log.name}"
        print(f"{job.name}, seed {job.seed}: {said} after {duration}", flush=True)


def _stop(children: Sequence[_Child]) -> None:
    """Make all trainings write their checkpoints and end."""
    print("stopping: trainings write their checkpoints", flush=True)
    for child in children:
        with suppress(OSError):
            _stdin(child).close()
    until = time.monotonic() + _STOP_SECONDS
    for child in children:
        with suppress(subprocess.TimeoutExpired):
            child.process.wait(max(0.1, until - time.monotonic()))


def _stdin(child: _Child) -> IO[bytes]:
    assert child.process.stdin is not None  # Popen creates the pipe
    return child.process.stdin


def _write_tables(options: argparse.Namespace) -> None:
    """Write pages and recipe files; results in another folder are not the project's."""
    saved = results.read_results(options.results)
    if options.results != results.RESULTS:
        return
    table.write_recipes(saved)
    table.write_pages(saved)


def _train_child(options: argparse.Namespace) -> int:
    """Train in this process; the end of stdin interrupts like Ctrl-C."""
    name, seed = options.child
    schedule = "own" if options.own_schedule else "equal"

    def watch() -> None:
        sys.stdin.read()
        os.kill(os.getpid(), signal.SIGINT)

    # A shell starts background jobs with an ignored SIGINT, which children inherit.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=watch, daemon=True).start()
    try:
        job = Job(name, int(seed), options.minutes, schedule)
        result: Any = train(job, Workplace(options.work), options.data)
    except FkdError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        result = None
    if result is None:
        return _INTERRUPTED
    results.write_result(result, options.results)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
