"""Worker processes on this machine: one process for each slot.

A process is needed because TensorFlow cannot divide a GPU or a process between trainings. Starts
``workers.process``, sends it members and passes on its events. ``workers.schedule`` assigns members
and time, ``workers.devices`` lists the devices.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Final, get_args

from fkd_kaggle.errors import RecipeError, RunError
from fkd_kaggle.recipes.plans import Member
from fkd_kaggle.runs.folder import Run
from fkd_kaggle.training import events
from fkd_kaggle.training.events import OnEvent, ignore_events
from fkd_kaggle.workers.devices import Machine, Slot, inspect_machine
from fkd_kaggle.workers.schedule import (
    MemberTrainer,
    RunsTrainer,
    StartRunsWorkers,
    StartWorkers,
    WorkerPool,
)

_STOP_SECONDS: Final = 30.0
"""Time for a stopped worker to write its checkpoint."""

_EVENTS: Final = {kind.__name__: kind for kind in get_args(events.Event)}

# os._exit skips TensorFlow's shutdown, which can take as long as a short training. The worker has
# written all its files by then.
_START: Final = (
    "import os, sys; sys.path.insert(0, sys.argv[1]); "
    "from fkd_kaggle.workers import process; code = process.main(*sys.argv[2:]); "
    "sys.stderr.flush(); os._exit(code)"
)


@dataclass(frozen=True)
class WorkerOptions:
    """What workers do besides training."""

    tensorboard: bool = False
    """Write TensorBoard logs."""
    test: bool = True
    """Predict the test faces as soon as a network is trained."""
    check: bool = True
    """Build all networks of the run before the worker reports that it is ready."""


def workers_for_run(
    run: Run, data_dir: Path, members: int, *, workers: int | None = None, tensorboard: bool = False
) -> StartWorkers | None:
    """Return a function that starts workers for a run on this machine.

    Parameters
    ----------
    run
        The run.
    data_dir
        Folder of the competition's files.
    members
        Number of members to train.
    workers
        Number of workers; None for as many as the devices allow.
    tensorboard
        Whether to write TensorBoard logs.

    Returns
    -------
    None where a worker process has no advantage over training in this process.
    """
    slots = _useful_slots(inspect_machine(), members, workers)
    if not slots:
        return None
    return worker_factory(run.path, data_dir, slots, tensorboard=tensorboard)


def default_worker_count(machine: Machine) -> int:
    """Return how many networks a machine trains at the same time by default."""
    return max(1, len(_useful_slots(machine, sys.maxsize, None)))


def workers_for_runs(data_dir: Path, workers: int, machine: Machine) -> StartRunsWorkers | None:
    """Return a function that starts workers for the runs of a comparison.

    All slots are equal and independent of the number of members: otherwise equal time budgets
    would not mean equal computation.

    Parameters
    ----------
    data_dir
        Folder of the competition's files.
    workers
        Number of workers.
    machine
        This machine.

    Returns
    -------
    None where a worker process has no advantage over training in this process.
    """
    slots = _useful_slots(machine, sys.maxsize, workers)
    if not slots:
        return None
    gpus = min(len(slot.gpus) for slot in slots)
    equal = [replace(slot, gpus=slot.gpus[:gpus]) for slot in slots]
    options = WorkerOptions(test=False, check=False)

    def start(run: Path, members: int) -> AbstractContextManager[WorkerPool[RunsTrainer]]:
        return start_workers(run, data_dir, equal[: max(1, members)], options)

    return start


def worker_factory(
    run: Path, data_dir: Path, slots: Sequence[Slot], *, tensorboard: bool = False
) -> StartWorkers:
    """Return a function that starts a worker in each slot, for ``ensemble.fitting``.

    Parameters
    ----------
    run
        Folder of the run.
    data_dir
        Folder of the competition's files.
    slots
        The slots. A worker with several GPUs trains each member on all of them together.
    tensorboard
        Whether to write TensorBoard logs.

    Returns
    -------
    A function of ``on_event``; it returns a context manager. Entering it raises RunError if a
    worker does not start.
    """

    @contextmanager
    def start(on_event: OnEvent) -> Iterator[WorkerPool[MemberTrainer]]:
        def for_this_run(trainer: RunsTrainer) -> MemberTrainer:
            return lambda member, budget: trainer(run, member, budget, on_event)

        with start_workers(run, data_dir, slots, WorkerOptions(tensorboard=tensorboard)) as pool:
            yield pool.adapt(for_this_run)

    return start


@contextmanager
def start_workers(
    run: Path, data_dir: Path, slots: Sequence[Slot], options: WorkerOptions | None = None
) -> Iterator[WorkerPool[RunsTrainer]]:
    """Start a worker in each slot; the workers end with the context.

    Parameters
    ----------
    run
        Folder of the only run, or of the first of several runs with the same precision.
    data_dir
        Folder of the competition's files.
    slots
        The slots.
    options
        What the workers do besides training; the defaults if None.

    Yields
    ------
    The workers.

    Raises
    ------
    RunError
        A worker does not start.
    """
    options = options or WorkerOptions()
    with ExitStack() as stack:
        # Start all processes before waiting: TensorFlow takes seconds to start.
        workers = [stack.enter_context(_Worker(run, data_dir, slot, options)) for slot in slots]
        precision = {worker.wait_until_ready() for worker in workers}.pop()

        def stop() -> None:
            for worker in workers:
                worker.interrupt()

        count = f"{len(workers)} × " if len(workers) > 1 else ""
        gpus = len(slots[0].gpus)
        devices = f" on {gpus} devices each" if gpus > 1 else ""
        yield WorkerPool([worker.train for worker in workers], f"{count}{precision}{devices}", stop)


def _useful_slots(machine: Machine, members: int, workers: int | None) -> list[Slot]:
    """Return the slots, or none where training in this process is as good."""
    if os.name == "nt":  # Windows has no signal that makes a process write its checkpoint
        return []
    slots = machine.slots(members, workers)
    return [] if len(slots) == 1 and len(slots[0].gpus) < 2 else slots


class _Worker:
    """A worker process and the two pipes to it."""

    def __init__(self, run: Path, data_dir: Path, slot: Slot, options: WorkerOptions) -> None:
        self.slot, self.options = slot, options
        package_parent = Path(__file__).parents[2]
        check = "check" if options.check else ""
        self.process = subprocess.Popen(
            [sys.executable, "-c", _START, str(package_parent), str(data_dir), str(run), check],
            env={**os.environ, **slot.environment()},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C reaches the worker only through ``interrupt``
        )

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *_: object) -> None:
        """Close stdin, which ends the worker, and kill it if it does not end."""
        with suppress(OSError):  # the process has ended
            _pipe(self.process.stdin).close()
        try:
            self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        _pipe(self.process.stdout).close()

    def wait_until_ready(self) -> str:
        """Wait until Keras has started; return the dtype policy."""
        return str(self._result("starting", ignore_events)["ready"])

    def train(self, run: Path, member: Member, budget: float | None, on_event: OnEvent) -> float:
        """Train a member; see ``RunsTrainer``."""
        request = {
            "run": str(run),
            "member": member.name,
            "budget": budget,
            "tensorboard": self.options.tensorboard,
            "test": self.options.test,
        }
        try:
            print(json.dumps(request), file=_pipe(self.process.stdin), flush=True)
        except OSError:
            raise RunError(self._exit_message(member.name)) from None
        return float(self._result(member.name, on_event)["done"])

    def interrupt(self) -> None:
        """Make the worker write its checkpoint and end."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)

    def _result(self, activity: str, on_event: OnEvent) -> dict[str, Any]:
        """Pass on events until the result of a request arrives; raise the worker's errors."""
        for line in _pipe(self.process.stdout):
            message: dict[str, Any] = json.loads(line)
            if "event" in message:
                on_event(_EVENTS[message.pop("event")](**message))
            elif "interrupted" in message:
                raise KeyboardInterrupt
            elif "refused" in message:
                raise RecipeError(message["refused"])
            elif "error" in message:
                raise RunError(message["error"])
            else:
                return message
        raise RunError(self._exit_message(activity))

    def _exit_message(self, activity: str) -> str:
        code = self.process.wait()
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return f"the worker on {self.slot} ended with {how} at {activity}; see its output above"


def _pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None  # Popen creates both pipes
    return stream
