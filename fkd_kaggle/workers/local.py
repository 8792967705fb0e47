"""Worker processes on this machine: one process for each slot.

A process is needed because TensorFlow cannot divide a GPU or a process between trainings, and
because a crash of TensorFlow or a kill by the system should not end the run. Starts
``workers.process``, sends it tasks and passes on its events. ``workers.schedule`` assigns members
and time, ``workers.devices`` lists the devices.

``multiprocessing`` and ``concurrent.futures`` do not suffice: the environment variables of a slot
must be set before the process starts, because the memory allocator reads them then; the process
must not run the main module again, which in a kernel is the whole training; and a pool of
``concurrent.futures`` is broken as a whole when the system kills one of its processes.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Final, get_args

from fkd_kaggle.errors import RecipeError, RunError
from fkd_kaggle.runs.folder import Run
from fkd_kaggle.training import events
from fkd_kaggle.workers.devices import Machine, Slot, inspect_machine
from fkd_kaggle.workers.pool import (
    Change,
    OnTaskEvent,
    Pool,
    SlotJoined,
    SlotLost,
    StartPool,
    StartRunsPool,
    Task,
    TaskEnded,
    TaskFailed,
    TaskStopped,
)

_END_SECONDS: Final = 5.0
"""Time for an idle worker to end."""

_EVENTS: Final = {kind.__name__: kind for kind in get_args(events.Event)}

# os._exit skips TensorFlow's shutdown, which can take as long as a short training. The worker has
# written all its files by then.
_START: Final = (
    "import os, sys; sys.path.insert(0, sys.argv[1]); "
    "from fkd_kaggle.workers import process; code = process.main(*sys.argv[2:]); "
    "sys.stderr.flush(); os._exit(code)"
)


Message = dict[str, Any] | None
"""A message of a worker process; None after its end."""

Messages = queue.Queue[tuple[str, Message]]
"""Messages of all workers with the names of their slots."""


@dataclass(frozen=True)
class WorkerOptions:
    """What workers do besides training."""

    tensorboard: bool = False
    """Write TensorBoard logs."""
    test: bool = True
    """Predict the test faces as soon as a network is trained."""
    check: bool = True
    """Build all networks of the run before the worker reports that it is ready."""
    measure: bool = False
    """Measure the speed of the devices, if no networks are built."""


def workers_for_run(
    run: Run, data_dir: Path, members: int, *, workers: int | None = None, tensorboard: bool = False
) -> StartPool | None:
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
        Number of workers; None for as many as the devices allow, 0 to train in this process.
    tensorboard
        Whether to write TensorBoard logs.

    Returns
    -------
    None if there is nothing to train, or to train in this process.
    """
    if workers == 0 or not members:
        return None
    machine = inspect_machine()
    slots = machine.slots(members, workers)
    if not machine.gpus:
        # The number of threads of a slot changes rounding. As in a run of all members, so that
        # shards and resumed runs give the same bytes.
        slots = machine.slots(len(run.plan.members), workers)[:members]
    return lambda: start_workers(run.path, data_dir, slots, WorkerOptions(tensorboard=tensorboard))


def default_worker_count(machine: Machine) -> int:
    """Return how many networks a machine trains at the same time by default."""
    return len(machine.slots(sys.maxsize))


def workers_for_runs(data_dir: Path, workers: int, machine: Machine) -> StartRunsPool | None:
    """Return a function that starts workers for the runs of a comparison.

    All slots are equal and independent of the number of members: otherwise equal time budgets
    would not mean equal computation.

    Parameters
    ----------
    data_dir
        Folder of the competition's files.
    workers
        Number of workers; 0 to train in this process.
    machine
        This machine.

    Returns
    -------
    None to train in this process.
    """
    if workers == 0:
        return None
    slots = machine.slots(sys.maxsize, workers)
    gpus = min(len(slot.gpus) for slot in slots)
    equal = [replace(slot, gpus=slot.gpus[:gpus]) for slot in slots]
    options = WorkerOptions(test=False, check=False)
    return lambda run, members: start_workers(run, data_dir, equal[: max(1, members)], options)


@contextmanager
def start_workers(
    run: Path, data_dir: Path, slots: Sequence[Slot], options: WorkerOptions | None = None
) -> Iterator[Pool]:
    """Start a worker in each slot; the workers end with the context.

    Parameters
    ----------
    run
        Folder of the only run, or of the first of several runs with the same precision.
    data_dir
        Folder of the competition's files.
    slots
        The slots. A worker with several GPUs trains each member on all of them together.
    options
        What the workers do besides training; the defaults if None.

    Yields
    ------
    The pool of workers.

    Raises
    ------
    RunError
        A worker does not start.
    """
    options = options or WorkerOptions()
    messages: Messages = queue.Queue()
    with ExitStack() as stack:
        # Start all processes before waiting: TensorFlow takes seconds to start.
        workers = {
            name: stack.enter_context(WorkerProcess(name, run, data_dir, slot, options, messages))
            for name, slot in ((f"worker {index + 1}", slot) for index, slot in enumerate(slots))
        }
        pool = LocalPool(workers, messages)
        pool.wait_until_ready()
        yield pool


class LocalPool:
    """Worker processes as slots; see ``workers.pool.Pool``."""

    may_grow = False
    waited = 0.0

    def __init__(self, workers: dict[str, WorkerProcess], messages: Messages) -> None:
        self._workers, self._messages = workers, messages
        self._changes: list[Change] = []
        self.precision = ""

    @property
    def pids(self) -> list[int]:
        """Return the process ids of the workers."""
        return [worker.process.pid for worker in self._workers.values()]

    def wait_until_ready(self) -> None:
        """Wait until Keras has started in all workers.

        Raises
        ------
        RunError, RecipeError
            A worker does not start, or cannot build a network of the run.
        """
        waiting = set(self._workers)
        policy = ""
        while waiting:
            name, message = self._messages.get()
            if message is None:
                raise RunError(self._workers[name].exit_message("starting"))
            if "error" in message:
                raise RunError(message["error"])
            policy = message["ready"]
            waiting.remove(name)
            self._changes.append(SlotJoined(name))
        count = f"{len(self._workers)} × " if len(self._workers) > 1 else ""
        gpus = len(next(iter(self._workers.values())).slot.gpus)
        devices = f" on {gpus} devices each" if gpus > 1 else ""
        self.precision = f"{count}{policy}{devices}"

    def expect(self, members: int) -> None:
        """Do nothing: the number of workers is fixed."""

    def start(self, slot: str, task: Task) -> None:
        """Send a task to a worker."""
        self._workers[slot].train(task)

    def wait(self, seconds: float, on_event: OnTaskEvent) -> Sequence[Change]:
        """Handle the messages of all workers until something changes or the time is over."""
        changes, self._changes = self._changes, []
        until = time.monotonic() + seconds
        while not changes and (left := until - time.monotonic()) > 0:
            with suppress(queue.Empty):
                name, message = self._messages.get(timeout=left)
                change = self._workers[name].handle(message, on_event)
                if change is not None:
                    changes.append(change)
        return changes

    def interrupt(self) -> None:
        """Make all workers write their checkpoints and end."""
        for worker in self._workers.values():
            worker.stop()

    def kill(self) -> None:
        """Kill all workers."""
        for worker in self._workers.values():
            worker.process.kill()


def read_message(
    slot: str, task: Task | None, message: dict[str, Any], on_event: OnTaskEvent
) -> Change | None:
    """Return the change that a message of a worker process means; pass on an event.

    Parameters
    ----------
    slot
        Name of the worker's slot.
    task
        The task that it trains.
    message
        A message as ``workers.process`` describes it.
    on_event
        Called with the event, if the message is one.
    """
    if "event" in message:
        values = dict(message)
        kind = _EVENTS[values.pop("event")]
        if task:
            on_event(task, kind(**values))
        return None
    if "done" in message:
        return TaskEnded(slot, float(message["done"]))
    if "refused" in message:
        return TaskFailed(slot, RecipeError(message["refused"]))
    return TaskStopped(slot)


class WorkerProcess:
    """A worker process, the two pipes to it and the task that it trains."""

    def __init__(
        self,
        name: str,
        run: Path,
        data_dir: Path,
        slot: Slot,
        options: WorkerOptions,
        messages: Messages,
    ) -> None:
        self.name, self.slot, self.options, self.messages = name, slot, options, messages
        self.task: Task | None = None
        self.error: str | None = None
        package_parent = Path(__file__).parents[2]
        check = "check" if options.check else "speed" if options.measure else ""
        self.process = subprocess.Popen(
            [sys.executable, "-c", _START, str(package_parent), str(data_dir), str(run), check],
            env={**os.environ, **slot.environment()},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            # Ctrl-C reaches the worker only through ``stop``.
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> WorkerProcess:
        return self

    def __exit__(self, error: object, *_: object) -> None:
        self.close(kill=error is not None)

    def close(self, *, kill: bool = False) -> None:
        """Close stdin, which ends the worker; kill it at once, or if it does not end."""
        if kill:
            self.process.kill()
        with suppress(OSError):  # the process has ended
            _pipe(self.process.stdin).close()
        try:
            self.process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join()
        _pipe(self.process.stdout).close()

    def train(self, task: Task) -> None:
        """Send a task."""
        self.task = task
        self._send(
            {
                "train": {
                    "run": str(task.run),
                    "member": task.member.name,
                    "budget": task.budget,
                    "seconds": task.seconds,
                    "tensorboard": self.options.tensorboard,
                    "test": self.options.test,
                }
            }
        )

    def stop(self) -> None:
        """Make the worker write its checkpoint and end."""
        self._send({"stop": True})

    def handle(self, message: Message, on_event: OnTaskEvent) -> Change | None:
        """Return the change that a message means; pass on an event."""
        if message is None:
            activity = self.task.title if self.task else "waiting for work"
            error = self.error or self.exit_message(activity)
            self.task = None
            return SlotLost(self.name, RunError(error))
        if "error" in message:
            self.error = message["error"]
            return None
        change = read_message(self.name, self.task, message, on_event)
        if change is not None:
            self.task = None
        return change

    def exit_message(self, activity: str) -> str:
        """Return how the process ended, and what helps.

        Parameters
        ----------
        activity
            What the process was doing.
        """
        code = self.process.wait()
        if code == -9:
            return (
                f"the worker on {self.slot} was killed by signal 9 at {activity}, as the system "
                "does when memory runs out: train with --workers 1 or a smaller --batch-size"
            )
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return f"the worker on {self.slot} ended with {how} at {activity}; see its output above"

    def _send(self, message: dict[str, Any]) -> None:
        with suppress(OSError, ValueError):  # the process has ended, which ``_read`` reports
            print(json.dumps(message), file=_pipe(self.process.stdin), flush=True)

    def _read(self) -> None:
        for line in _pipe(self.process.stdout):
            self.messages.put((self.name, json.loads(line)))
        self.messages.put((self.name, None))


def _pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None  # Popen creates both pipes
    return stream
