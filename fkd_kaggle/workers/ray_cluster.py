"""Slots on a Ray cluster: one actor with a worker process for each GPU or CPU core.

Needs no shared disk: the package travels in Ray's runtime environment, the faces lie in Ray's
object store, and checkpoints, weights and predictions come back to the run folder here while they
are written. A lost node costs the epochs since the last checkpoint of its members. Ray is imported
when a cluster is used (extra ``cluster``).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fkd_kaggle.data import dataset
from fkd_kaggle.errors import FkdError, RunError
from fkd_kaggle.formatting import first_line
from fkd_kaggle.runs.folder import Run, load_folds
from fkd_kaggle.runs.members import read_progress
from fkd_kaggle.runs.predictions import delete_outdated_predictions
from fkd_kaggle.training.events import MemberStarted, Waiting
from fkd_kaggle.training.interruption import check
from fkd_kaggle.workers.local import read_message
from fkd_kaggle.workers.pool import (
    Change,
    OnTaskEvent,
    Pool,
    SlotJoined,
    SlotLost,
    StartPool,
    StartRunsPool,
    Task,
)
from fkd_kaggle.workers.ray_connection import NO_SLOTS, connect, node_slots
from fkd_kaggle.workers.ray_slot import RaySlot
from fkd_kaggle.workers.transfer import (
    read_data_files,
    read_files,
    read_run_files,
    replace_member_files,
    write_files,
)

_POLL_SECONDS: Final = 0.5
"""Longest time that a slot collects events before it reports them."""

_NODES_SECONDS: Final = 2.0
"""Seconds between two looks at the nodes of the cluster."""

_PLACE_SECONDS: Final = 10.0
"""Time after which an actor that has not started is taken to wait for other users of its node."""

_WAITING_SECONDS: Final = 10.0
"""Time without any slot after which the user is told what the training waits for."""

_CLOSE_SECONDS: Final = 3.0
"""Time for slots to end their workers and to delete their files before the actors are killed."""

_MAX_FAILED_STARTS: Final = 2
"""Workers that fail to start on a node before no further worker is started there."""


def workers_on_cluster(
    address: str, run: Run, data_dir: Path, members: int, *, test: bool = True
) -> StartPool | None:
    """Return a function that starts slots on a Ray cluster.

    Parameters
    ----------
    address
        "auto", HOST:PORT or ray://HOST:PORT, see ``ray_connection.connect``.
    run
        The run, or the first of several runs with the same precision.
    data_dir
        Folder of the competition's files.
    members
        Number of members to train.
    test
        Whether to predict the test faces.

    Returns
    -------
    None if there is nothing to train. The function raises an FkdError if Ray is missing or the
    cluster cannot be used.
    """
    if not members:
        return None
    return lambda: _start(address, run, data_dir, members, test)


def workers_for_runs(address: str, data_dir: Path) -> StartRunsPool:
    """Return a function that starts slots on a Ray cluster for the runs of a comparison.

    Parameters
    ----------
    address
        As for ``workers_on_cluster``.
    data_dir
        Folder of the competition's files.
    """
    return lambda run, members: _start(address, Run.open(run), data_dir, members, False)


@contextmanager
def _start(address: str, run: Run, data_dir: Path, members: int, test: bool) -> Iterator[Pool]:
    ray = connect(address)
    try:
        training = dataset.read_training(data_dir)  # fills the cache
        dataset.read_test_if_present(data_dir)
        load_folds(run, training)
        pool = RayPool(ray, run.path, ray.put(read_data_files(data_dir)), members, test)
        try:
            pool.wait_for_first_slot()
            yield pool
        finally:
            pool.close()
    finally:
        ray.shutdown()


@dataclass
class _RemoteSlot:
    """An actor and what it does."""

    name: str
    node: str
    """Ray's id of the node."""
    actor: Any
    pending: Any
    """Reference of the call whose result is waited for."""
    ping: Any
    """Reference of a call that ends as soon as the actor has started."""
    requested_at: float
    started: bool = False
    """Whether Ray has found a place for the actor."""
    host: str = ""
    """Name of the node; empty if it is unknown."""
    joined: bool = False
    task: Task | None = None
    trained_before: float = 0.0
    """Seconds that the member of the task was trained before."""


class RayPool:
    """Slots on a Ray cluster; see ``workers.pool.Pool``.

    Parameters
    ----------
    ray
        The connected module ``ray``.
    run
        Folder of the first run.
    data
        Reference of a ``DataFiles`` in the object store.
    members
        Number of members to train.
    test
        Whether to predict the test faces.
    """

    def __init__(self, ray: Any, run: Path, data: Any, members: int, test: bool) -> None:
        self._ray, self._run, self._data, self._test = ray, run, data, test
        self._expected = members
        self._slots: dict[str, _RemoteSlot] = {}
        self._changes: list[Change] = []
        self._count = 0
        self._seen_nodes: list[dict[str, Any]] = []
        self._nodes_at = -1e9
        self._failed_starts: Counter[str] = Counter()
        """Number of workers that failed to start since the last that started, by node."""
        self._start_error = RunError("no worker starts")
        """Error of the last worker that failed to start."""
        self._policy = ""
        self._reference_speed: float | None = None
        self._stopping = False
        self._actor = ray.remote(max_restarts=0, max_concurrency=4)(RaySlot)
        self._without_slot_since = time.monotonic()
        self._told = False
        self.waited = 0.0

    @property
    def precision(self) -> str:
        """Dtype policy and number of slots so far."""
        joined = sum(slot.joined for slot in self._slots.values())
        return f"{joined} × {self._policy} on a Ray cluster"

    @property
    def may_grow(self) -> bool:
        """Whether slots can join: not if workers fail to start on all nodes."""
        usable = [node for node in self._seen_nodes if node_slots(node)[0]]
        return bool(self._slots) or not usable or any(map(self._may_start_on, usable))

    def wait_for_first_slot(self) -> None:
        """Wait until the first slot has joined; print what is waited for.

        Raises
        ------
        FkdError
            The cluster has neither GPUs nor CPUs, or no worker starts on any node.
        """
        if not any(node_slots(node)[0] for node in self._nodes()):
            raise FkdError(NO_SLOTS)
        self._add_slots()
        began, has_place = time.monotonic(), False
        changes: list[Change] = []
        while not any(slot.joined for slot in self._slots.values()):
            check()
            self._note_started()
            if not has_place:
                has_place = any(slot.started for slot in self._slots.values())
                self.waited = time.monotonic() - began
            changes += self.wait(_POLL_SECONDS, _print_waiting)
            if not self.may_grow:
                raise self._start_error
        self._changes = changes

    def expect(self, members: int) -> None:
        """Release the slots that are not needed, for other users of the cluster."""
        self._expected = members
        started = [slot for slot in self._slots.values() if slot.started]
        surplus = len(started) - members
        unplaced = [slot for slot in self._slots.values() if not slot.started]
        idle = [slot for slot in started if slot.joined and slot.task is None]
        released = idle[: max(0, surplus)]
        self._remove(*(unplaced if surplus >= 0 else ()), *released)
        self._changes += [
            SlotLost(slot.name, RunError("released"), retry=True) for slot in released
        ]

    def start(self, slot: str, task: Task) -> None:
        """Send a task with the member's checkpoint to a slot."""
        remote = self._slots[slot]
        remote.task, remote.trained_before = task, _trained_seconds(task)
        # The slot deletes its copy, but new files are written beside those that are here.
        delete_outdated_predictions(_member_folder(task))
        contents = {**read_run_files(task.run), **read_files(task.run, task.member.name)}
        start = remote.actor.start.options(name=f"start {task.title}")
        remote.pending = start.remote(task.run.name, contents, task)

    def wait(self, seconds: float, on_event: OnTaskEvent) -> Sequence[Change]:
        """Handle the messages of all slots until something changes or the time is over."""
        changes, self._changes = self._changes, []
        if time.monotonic() - self._nodes_at > _NODES_SECONDS and not self._stopping:
            self._add_slots()
        self._report_waiting(on_event)
        by_call = {slot.pending: slot for slot in self._slots.values() if slot.pending is not None}
        if not by_call:
            time.sleep(0 if changes else seconds)
            return changes
        ready, _ = self._ray.wait(
            list(by_call), num_returns=len(by_call), timeout=0 if changes else seconds / 4
        )
        if not ready and not changes:
            ready, _ = self._ray.wait(list(by_call), num_returns=1, timeout=seconds)
        for call in ready:
            changes += self._receive(by_call[call], on_event)
        return changes

    def interrupt(self) -> None:
        """Make all slots write their checkpoints; the files come back before they stop."""
        self._stopping = True
        for slot in self._slots.values():
            slot.actor.stop.remote()

    def kill(self) -> None:
        """Kill all actors."""
        self._remove(*self._slots.values())

    def close(self) -> None:
        """End all slots."""
        self.kill()

    def _nodes(self) -> list[dict[str, Any]]:
        self._nodes_at = time.monotonic()
        self._seen_nodes = [node for node in self._ray.nodes() if node["Alive"]]
        return self._seen_nodes

    def _may_start_on(self, node: dict[str, Any]) -> bool:
        return self._failed_starts[node["NodeID"]] < _MAX_FAILED_STARTS

    def _add_slots(self) -> None:
        """Request an actor for each GPU or core that has none, as long as members need slots.

        An actor waits on its node while others use all of it. After some seconds, actors are
        requested on further nodes as well; ``expect`` removes those that are not needed. Nodes on
        which a worker failed to start come last.
        """
        self._note_started()
        now = time.monotonic()
        counted = sum(
            slot.started or now - slot.requested_at < _PLACE_SECONDS
            for slot in self._slots.values()
        )
        nodes = filter(self._may_start_on, self._nodes())
        for node in sorted(nodes, key=lambda node: self._failed_starts[node["NodeID"]]):
            count, gpu = node_slots(node)
            used = sum(slot.node == node["NodeID"] for slot in self._slots.values())
            for _ in range(min(count - used, self._expected - counted)):
                self._request(node, gpu)
                counted += 1

    def _note_started(self) -> None:
        """Note which actors have started."""
        by_ping = {slot.ping: slot for slot in self._slots.values() if not slot.started}
        if by_ping:
            for ping in self._ray.wait(list(by_ping), num_returns=len(by_ping), timeout=0)[0]:
                by_ping[ping].started = True

    def _request(self, node: dict[str, Any], gpu: bool) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self._count += 1
        name = f"slot {self._count}"
        actor = self._actor.options(
            num_cpus=0 if gpu else 1,
            num_gpus=1 if gpu else 0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False),
        ).remote()
        ping = actor.ping.options(name=f"start {name}").remote()
        pending = actor.set_up.options(name=f"set up {name}").remote(
            self._run.name, read_run_files(self._run), self._data, gpu, self._test
        )
        host = str(node.get("NodeManagerHostname", ""))
        self._slots[name] = _RemoteSlot(
            name, node["NodeID"], actor, pending, ping, time.monotonic(), host=host
        )

    def _poll(self, slot: _RemoteSlot) -> Any:
        title = slot.task.title if slot.task else slot.name
        return slot.actor.poll.options(name=f"train {title}").remote(_POLL_SECONDS)

    def _receive(self, slot: _RemoteSlot, on_event: OnTaskEvent) -> list[Change]:
        """Handle the result of a slot's pending call."""
        slot.started = True
        try:
            result = self._ray.get(slot.pending)
        except self._ray.exceptions.RayError as error:
            return [self._lose(slot, _explain_loss(slot, error), on_event)]
        if not slot.joined:
            return [self._join(slot, result, on_event)]
        changes: list[Change] = []
        for message in result or ():  # None: a task was sent
            change = self._handle(slot, message, on_event)
            if change is not None:
                changes.append(change)
        if slot.name in self._slots:
            slot.pending = self._poll(slot) if slot.task else None
        return changes

    def _handle(
        self, slot: _RemoteSlot, message: dict[str, Any], on_event: OnTaskEvent
    ) -> Change | None:
        """Handle a message of a slot."""
        task = slot.task
        if "lost" in message:
            self._remove(slot)
            return SlotLost(slot.name, RunError(message["lost"]))
        if task is None:
            return None
        if "files" in message:
            if message["final"]:
                replace_member_files(task.run, task.member.name, message["files"])
            else:
                write_files(task.run, message["files"])
            return None
        if message.get("event") == MemberStarted.__name__:
            message = {**message, "node": slot.host}
        change = read_message(slot.name, task, message, on_event)
        if change is not None:
            slot.task = None
        return change

    def _join(
        self, slot: _RemoteSlot, result: dict[str, Any], on_event: OnTaskEvent
    ) -> SlotJoined | SlotLost:
        if "error" in result:
            return self._lose(slot, RunError(result["error"]), on_event)
        slot.joined = True
        self._failed_starts.pop(slot.node, None)
        slot.host, slot.pending = str(result["node"]), None
        self._policy = str(result["ready"])
        speed = float(result["speed"])
        self._reference_speed = self._reference_speed or speed
        return SlotJoined(slot.name, speed / self._reference_speed)

    def _lose(self, slot: _RemoteSlot, error: RunError, on_event: OnTaskEvent) -> SlotLost:
        """Remove a slot whose node, actor or worker does not work."""
        self._remove(slot)
        if not slot.joined:
            self._count_failed_start(slot, error, on_event)
        trained = 0.0
        if slot.task is not None:
            trained = max(0.0, _trained_seconds(slot.task) - slot.trained_before)
        return SlotLost(slot.name, error, retry=True, trained=trained)

    def _count_failed_start(
        self, slot: _RemoteSlot, error: RunError, on_event: OnTaskEvent
    ) -> None:
        """Count a worker that failed to start; tell the user if its node gets no further one."""
        self._start_error = error
        self._failed_starts[slot.node] += 1
        if self._failed_starts[slot.node] == _MAX_FAILED_STARTS and self.may_grow:
            reason = f"no further worker is started on {slot.host or 'a node'}: {error}"
            on_event(_NO_TASK, Waiting(reason))

    def _remove(self, *slots: _RemoteSlot) -> None:
        """End the workers of slots, delete the files there and kill the actors."""
        with suppress(Exception):  # nodes that are lost
            calls = [slot.actor.close.remote() for slot in slots if slot.started]
            if calls:
                self._ray.wait(calls, num_returns=len(calls), timeout=_CLOSE_SECONDS)
        for slot in slots:
            del self._slots[slot.name]
            with suppress(Exception):  # it is lost already
                self._ray.kill(slot.actor)

    def _report_waiting(self, on_event: OnTaskEvent) -> None:
        """Tell the user once if there is no slot for long."""
        now = time.monotonic()
        if any(slot.joined for slot in self._slots.values()):
            self._without_slot_since, self._told = now, False
        elif now - self._without_slot_since > _WAITING_SECONDS and not self._told:
            self._told = True
            on_event(_NO_TASK, Waiting(self._waiting_message()))

    def _waiting_message(self) -> str:
        self._note_started()
        if count := sum(slot.started for slot in self._slots.values()):
            return (
                f"{count} slot{'' if count == 1 else 's'} of the cluster found; waiting for "
                "TensorFlow to start there"
            )
        total, free = self._ray.cluster_resources(), self._ray.available_resources()
        parts = [
            f"{free.get(kind, 0):g} of {total.get(kind, 0):g} {kind}s are free"
            for kind in ("GPU", "CPU")
            if total.get(kind)
        ]
        return f"waiting for a free slot on the cluster: {', '.join(parts) or 'it has no nodes'}"


def _member_folder(task: Task) -> Path:
    return task.run / "members" / task.member.name


def _trained_seconds(task: Task) -> float:
    """Return the seconds of training that the files of a task's member, as they are here, keep."""
    return read_progress(_member_folder(task)).seconds


def _explain_loss(slot: _RemoteSlot, error: Exception) -> RunError:
    """Return one line for an error of Ray, or for an exception in the actor that it reports."""
    host, cause = slot.host or "a node", getattr(error, "cause", None)
    if isinstance(cause, Exception):
        return RunError(f"{host}: {first_line(cause)}")
    return RunError(f"{host} was lost ({type(error).__name__})")


_NO_TASK: Any = None


def _print_waiting(_: Task, event: Any) -> None:
    if isinstance(event, Waiting):
        print(event.reason, flush=True)
