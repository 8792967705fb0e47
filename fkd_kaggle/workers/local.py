"""A crew of processes, each with its share of the machine: a GPU, or some of the CPU's cores.

TensorFlow shares neither a GPU nor a process well. Starts ``worker`` processes, hands them members
and passes on what they tell. How members and time are divided is ``crew``'s, what there is to
share ``devices``', what a worker does ``worker``'s.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, Final, get_args

from fkd_kaggle.errors import RecipeError, RunError
from fkd_kaggle.recipes.plans import Member
from fkd_kaggle.runs.folder import Run
from fkd_kaggle.training import events
from fkd_kaggle.training.events import OnEvent, ignore_events
from fkd_kaggle.workers import devices
from fkd_kaggle.workers.devices import Slot
from fkd_kaggle.workers.schedule import Hire, HireForRuns, MemberTrainer, RunsTrainer, WorkerPool

_PATIENCE: Final = 30.0
"""Seconds that a worker has to write its checkpoint when it is stopped."""

_KINDS: Final = {kind.__name__: kind for kind in get_args(events.Event)}

# Ends without TensorFlow's own taking down, which can last as long as a short training: all that a
# worker leaves is written by then.
_START: Final = (
    "import os, sys; sys.path.insert(0, sys.argv[1]); "
    "from fkd_kaggle.workers import process; code = process.main(*sys.argv[2:]); "
    "sys.stderr.flush(); os._exit(code)"
)


def workers_for_run(
    run: Run, data_dir: Path, members: int, *, workers: int | None = None, tensorboard: bool = False
) -> Hire | None:
    """Return what starts a crew for so many members on this machine; None to train here instead.

    Parameters
    ----------
    workers
        How many processes; as many as make sense when None.
    """
    shares = _slots(members, workers)
    return worker_factory(run.path, data_dir, shares, tensorboard=tensorboard) if shares else None


def default_worker_count() -> int:
    """Return how many networks it makes sense to train on this machine at the same time."""
    return max(1, len(_slots(sys.maxsize, None)))


def workers_for_runs(data_dir: Path, workers: int) -> HireForRuns | None:
    """Return what starts a crew for a comparison; None to train one after the other, here.

    However few members there are, each gets a part of the machine as if there were ``workers``, or
    an equal budget would not be equal.
    """
    shares = _slots(sys.maxsize, workers)
    if not shares:
        return None
    gpus = min(len(share.gpus) for share in shares)
    equal = [replace(share, gpus=share.gpus[:gpus]) for share in shares]

    def start(run: Path, members: int) -> AbstractContextManager[WorkerPool[RunsTrainer]]:
        return start_workers(run, data_dir, equal[: max(1, members)], test=False, check=False)

    return start


def _slots(members: int, workers: int | None) -> list[Slot]:
    """Return each process's share of the machine; empty where there is nothing to be shared."""
    if os.name == "nt":  # where no signal tells a process to write its checkpoint
        return []
    numbers = devices.list_gpus()
    shares = (
        devices.gpu_slots(numbers, members, workers)
        if numbers
        else devices.cpu_slots(members, workers)
    )
    return [] if len(shares) == 1 and len(shares[0].gpus) < 2 else shares


def worker_factory(
    run: Path, data_dir: Path, shares: Sequence[Slot], *, tensorboard: bool = False
) -> Hire:
    """Return what starts a crew for ``ensemble.train``: a worker for each share of the machine.

    A share of several GPUs trains each member on all of them together.

    Raises
    ------
    RunError
        A worker does not start.
    """

    @contextmanager
    def start(on_event: OnEvent) -> Iterator[WorkerPool[MemberTrainer]]:
        def of_this_run(trainer: RunsTrainer) -> MemberTrainer:
            return lambda member, budget: trainer(run, member, budget, on_event)

        with start_workers(run, data_dir, shares, tensorboard=tensorboard) as hired:
            yield hired.told(of_this_run)

    return start


@contextmanager
def start_workers(
    run: Path,
    data_dir: Path,
    shares: Sequence[Slot],
    *,
    tensorboard: bool = False,
    test: bool = True,
    check: bool = True,
) -> Iterator[WorkerPool[RunsTrainer]]:
    """Start a worker for each share of the machine.

    Parameters
    ----------
    run
        The folder of the only run, or the first of several with the same precision.
    test
        Whether a trained network answers for the test faces at once.
    check
        Whether to see first that all of the run's networks can be built.

    Raises
    ------
    RunError
        A worker does not start.
    """
    with ExitStack() as stack:
        # All of them first: each takes its seconds to start TensorFlow.
        workers = [
            stack.enter_context(_Worker(run, data_dir, share, tensorboard, test, check))
            for share in shares
        ]
        precision = {worker.ready() for worker in workers}.pop()

        def stop() -> None:
            for worker in workers:
                worker.interrupt()

        count = f"{len(workers)} × " if len(workers) > 1 else ""
        gpus = len(shares[0].gpus)
        together = f" on {gpus} devices each" if gpus > 1 else ""
        yield WorkerPool(
            [worker.train for worker in workers], f"{count}{precision}{together}", stop
        )


class _Worker:
    """One process and the two pipes to it."""

    def __init__(
        self,
        run: Path,
        data_dir: Path,
        share: Slot,
        tensorboard: bool,
        test: bool,
        check: bool,
    ) -> None:
        self.share, self.tensorboard, self.test = share, tensorboard, test
        package = Path(__file__).parents[2]
        self.process = subprocess.Popen(
            [sys.executable, "-c", _START, str(package), str(data_dir), str(run),
             "check" if check else ""],
            env={**os.environ, **share.environment()},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8",
            start_new_session=True,  # Ctrl-C reaches it by `interrupt`, once
        )  # fmt: skip

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *_: object) -> None:
        """Let it end, and see to it that it does."""
        with suppress(OSError):  # it is gone already
            _pipe(self.process.stdin).close()
        try:
            self.process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        _pipe(self.process.stdout).close()

    def ready(self) -> str:
        """Wait until it has started its backend; return its precision."""
        return str(self._answer("starting", ignore_events)["ready"])

    def train(self, run: Path, member: Member, budget: float | None, on_event: OnEvent) -> float:
        """Have a member trained; a ``RunTrainer``."""
        order = json.dumps(
            {
                "run": str(run), "member": member.name, "budget": budget,
                "tensorboard": self.tensorboard, "test": self.test,
            }
        )  # fmt: skip
        try:
            print(order, file=_pipe(self.process.stdin), flush=True)
        except OSError:
            raise RunError(self._gone(member.name)) from None
        return float(self._answer(member.name, on_event)["done"])

    def interrupt(self) -> None:
        """Make it write its checkpoint and end."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)

    def _answer(self, doing: str, on_event: OnEvent) -> dict[str, Any]:
        """Pass on events until something else comes."""
        for line in _pipe(self.process.stdout):
            message: dict[str, Any] = json.loads(line)
            if "event" in message:
                on_event(_KINDS[message.pop("event")](**message))
            elif "interrupted" in message:
                raise KeyboardInterrupt
            elif "refused" in message:
                raise RecipeError(message["refused"])
            elif "error" in message:
                raise RunError(message["error"])
            else:
                return message
        raise RunError(self._gone(doing))

    def _gone(self, doing: str) -> str:
        code = self.process.wait()
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return (
            f"the process on {self.share} ended with {how} at {doing}; what it had to say is above"
        )


def _pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None  # Popen was asked for both
    return stream
