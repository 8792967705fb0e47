"""Training on Kaggle: what commands do with kernels that run there.

Everything that happens at Kaggle goes through ``Competition``, what a kernel does is ``inside``'s.
Prints nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from fkd_kaggle import run as run_folder
from fkd_kaggle.competition import Competition
from fkd_kaggle.display import duration
from fkd_kaggle.errors import KernelError, RunError
from fkd_kaggle.kernel import failures, records
from fkd_kaggle.kernel.collecting import Collected, collect
from fkd_kaggle.kernel.following import OnKernelEvent, Pushed
from fkd_kaggle.kernel.orders import Order
from fkd_kaggle.kernel.records import Record
from fkd_kaggle.kernel.session import Session


def train(
    competition: Competition,
    order: Order,
    runs_dir: Path,
    on_event: OnKernelEvent,
    *,
    run_name: str | None = None,
    poll: float | None = None,
) -> Collected:
    """Have ``order`` trained on Kaggle and bring what it left to ``runs_dir``.

    Where the same order is under way, also from an earlier process, that is taken up.

    Raises
    ------
    KernelError
        A kernel cannot be built or pushed, fails, or leaves no submission.
    CompetitionError
        Kaggle refuses or cannot be reached.
    """
    name = _name_run(competition, runs_dir, order, run_name)
    session = Session(competition, order, runs_dir, on_event, name, poll)
    shards, last = session.pieces
    session.complete(shards)
    session.complete([last])
    return collect(competition, session.known(last), runs_dir)


def push(
    competition: Competition,
    order: Order,
    runs_dir: Path,
    on_event: OnKernelEvent,
    run_name: str | None = None,
) -> Record:
    """Push one kernel for ``order`` and do not wait; where it runs already, push nothing.

    Raises
    ------
    KernelError
        The order has shards: somebody must wait for them to push the blend.
    """
    if order.shards > 1:
        raise KernelError(
            "shards are pushed as Kaggle has room and blended at the end, which takes somebody who "
            "waits: use `fkd-kaggle submit --via kernel --shards …`"
        )
    name = _name_run(competition, runs_dir, order, run_name)
    session = Session(competition, order, runs_dir, on_event, name, None)
    record = session.find(session.pieces[1])
    if record is None or record.state in ("pushing", "failed"):
        return session.push(session.pieces[1])
    on_event(Pushed(record.kernel, record.version, record.url, True, record.gpu))
    return record


def follow(
    competition: Competition, noted: Sequence[Record], runs_dir: Path, on_event: OnKernelEvent
) -> None:
    """Follow kernels that were pushed to their end.

    Raises
    ------
    KernelError
        One failed or was cancelled.
    """
    newest = noted[-1]
    order = Order.from_dict(newest.order)
    session = Session(competition, order, runs_dir, on_event, newest.run, None)
    session.watch([record for record in noted if record.run == newest.run])


def describe(competition: Competition, record: Record) -> list[str]:
    """Return how a kernel is doing; where it failed, the end of its traceback and why."""
    status = competition.kernel_status(record.kernel)
    state = status.state.replace("_", " ")
    since = ""
    if record.running and not status.finished:
        seconds = (datetime.now(UTC) - datetime.fromisoformat(record.running)).total_seconds()
        since = f" for {duration(seconds)}"
    line = f"{record.kernel}, version {record.version}, run {record.run}: {state}{since}"
    if status.state != "error":
        return [line]
    log = [line for one in competition.kernel_logs(record.kernel) for line in one.text.splitlines()]
    why = failures.explain(record.kernel, status, log, "its start")
    return [line, *failures.read(log).tail, why]


def check_ended(competition: Competition, record: Record) -> None:
    """Refuse a kernel that has not come to a good end.

    Raises
    ------
    KernelError
        It still runs, or it failed.
    """
    status = competition.kernel_status(record.kernel)
    if not status.finished:
        raise KernelError(
            f"kernel {record.kernel} is {status.state} and has left nothing yet: wait for it with "
            "`fkd-kaggle kernel logs --follow`"
        )
    if status.state != "complete":
        raise KernelError(describe(competition, record)[-1])


def _name_run(competition: Competition, runs_dir: Path, order: Order, wanted: str | None) -> str:
    """Return the name of the run under way for an order, else a new one.

    Raises
    ------
    RunError
        There is another run of the wanted name.
    """
    noted = records.read_all(runs_dir)
    practice = competition.practice_url is not None
    under_way = records.of_job(noted, records.digest(order.to_dict(), practice=practice))
    if under_way and wanted in (None, under_way[0].run):
        return under_way[0].run
    taken = {one.run for one in noted}
    if wanted is None:
        return run_folder.fresh_name(runs_dir, order.plan.ensemble.name, taken)
    if (runs_dir / wanted).exists() or wanted in taken:
        raise RunError(f"run {wanted} exists in {runs_dir}: choose another name with --run")
    return wanted
