"""Slots on a Ray cluster: files that travel, the slot itself, and messages about clusters.

The slot is tested without Ray. Trainings on a cluster of two nodes are in
``tests/benchmarks/cluster.py``, because Ray is no dependency and takes a minute to start.
"""

from __future__ import annotations

import json
import socket
import sys
import time
import types
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from conftest import write_competition
from workers.fake_ray import FakeRay

from fkd_kaggle.data import dataset
from fkd_kaggle.display.time_plan import describe_estimate
from fkd_kaggle.ensemble import fitting
from fkd_kaggle.ensemble.run_times import MachineTimes
from fkd_kaggle.ensemble.training_estimate import estimate_training
from fkd_kaggle.errors import FkdError, RunError
from fkd_kaggle.recipes import plans
from fkd_kaggle.runs.folder import CORRECTIONS, REFERENCE, Run, load_folds
from fkd_kaggle.runs.members import Progress, is_finished, write_progress
from fkd_kaggle.runs.predictions import store_out_of_fold
from fkd_kaggle.training.events import MemberStarted, Waiting
from fkd_kaggle.workers import devices, ray_cluster, ray_connection
from fkd_kaggle.workers.pool import SlotJoined, SlotLost, Task, TaskEnded
from fkd_kaggle.workers.ray_cluster import RayPool
from fkd_kaggle.workers.ray_slot import RaySlot
from fkd_kaggle.workers.transfer import (
    read_data_files,
    read_files,
    read_run_files,
    replace_member_files,
    write_files,
)

EXAMPLES = Path(__file__).parents[2] / "examples" / "clusters"

TINY = """
architecture = "region"
epochs = 2
batch_size = 8
options = { filters = [4], dense = 4 }
"""

READY = {"ready": "float32", "speed": 100.0, "node": "host"}
"""What a slot answers when Keras has started there."""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    write_competition(tmp_path / "data", train=40, test=12)
    (tmp_path / "tiny.toml").write_text(TINY)
    plan = plans.make_plan(
        plans.TrainingOptions([str(tmp_path / "tiny.toml")], folds=2, precision="float32")
    )
    run = fitting.start_run(tmp_path / "runs", "tiny", plan, tmp_path / "data")
    load_folds(run, dataset.read_training(tmp_path / "data"))
    return run


def test_a_data_folder_travels_without_the_text_of_its_csv_files(tmp_path: Path) -> None:
    data, copy = tmp_path / "data", tmp_path / "copy"
    write_competition(data, train=40, test=12)
    training = dataset.read_training(data)  # fills the cache
    test, lookup = dataset.read_test_and_lookup(data)
    sent = read_data_files(data)
    assert not [name for name in sent.contents if name.endswith(".csv")]
    sent.write(copy)
    assert dataset.fingerprint(copy) == dataset.fingerprint(data)
    np.testing.assert_array_equal(dataset.read_training(copy).keypoints, training.keypoints)
    there, lookup_there = dataset.read_test_and_lookup(copy)
    np.testing.assert_array_equal(there.images, test.images)
    np.testing.assert_array_equal(lookup_there.row_ids, lookup.row_ids)


def test_a_data_folder_without_a_cache_travels_as_it_is(tmp_path: Path) -> None:
    write_competition(tmp_path / "data", train=40, test=12)
    read_data_files(tmp_path / "data").write(tmp_path / "copy")
    assert (tmp_path / "copy" / "training.csv").read_bytes() == (
        tmp_path / "data" / "training.csv"
    ).read_bytes()


def test_corrections_and_reference_predictions_travel_with_a_run(tmp_path: Path) -> None:
    write_files(tmp_path, {CORRECTIONS: b"row", REFERENCE: b"npz", "run.json": b"{}"})
    write_files(tmp_path, {"out_of_fold.npz": b"large", "report.html": b"page"})
    assert set(read_run_files(tmp_path)) == {CORRECTIONS, REFERENCE, "run.json"}


def test_files_of_an_ended_member_replace_all_others(tmp_path: Path) -> None:
    write_files(tmp_path, {"members/a/checkpoint.npz": b"old", "members/a/progress.json": b"1"})
    replace_member_files(tmp_path, "a", {"members/a/progress.json": b"2"})
    assert read_files(tmp_path, "a") == {"members/a/progress.json": b"2"}


@pytest.mark.slow
def test_a_slot_trains_a_member_and_hands_out_its_files(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    slot, member = RaySlot(), run.plan.members[0]
    try:
        data = read_data_files(tmp_path / "data")
        ready = slot.set_up(run.name, read_run_files(run.path), data, False, True)
        assert ready["ready"] == "float32"
        assert ready["speed"] > 0
        assert ready["node"] == socket.gethostname()
        slot.start(run.name, read_run_files(run.path), Task("tiny-f0", Path("elsewhere"), member))
        messages: list[dict[str, Any]] = []
        began = time.monotonic()
        while not any("done" in message for message in messages):
            messages += slot.poll(1.0)
            assert not any("lost" in message for message in messages)
            assert time.monotonic() - began < 200
    finally:
        slot.close()
    last = [message["files"] for message in messages if "files" in message][-1]
    replace_member_files(run.path, member.name, last)
    assert is_finished(run, member)
    kinds = [message.get("event") for message in messages]
    assert kinds.count("MemberEnded") == 1
    assert kinds.count("EpochEnded") == 2


@pytest.fixture
def affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's scheduling strategy, which is not installed."""
    strategies = types.ModuleType("strategies")
    strategies.NodeAffinitySchedulingStrategy = lambda *_, **__: None  # type: ignore[attr-defined]
    for name in ("ray", "ray.util"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "ray.util.scheduling_strategies", strategies)


@pytest.mark.usefixtures("affinity")
def test_slots_join_train_and_are_lost(run: Run) -> None:
    ray = FakeRay(1, 2)
    pool = RayPool(ray, run.path, "data", 2, True)
    events: list[Any] = []

    def wait() -> list[Any]:
        return list(pool.wait(0.01, lambda task, event: events.append(event)))

    assert wait() == []
    set_ups = ray.pending("set_up")
    assert len(set_ups) == 2  # no more than members
    for call, speed in zip(set_ups, (100.0, 50.0), strict=True):
        ray.results[call] = {"ready": "float32", "speed": speed, "node": f"host{speed:.0f}"}
    joined = wait()
    assert joined == [SlotJoined("slot 1", 1.0), SlotJoined("slot 2", 0.5)]
    for change, member in zip(joined, run.plan.members, strict=True):
        pool.start(change.slot, Task(member.name, run.path, member))
    assert wait() == []
    first, second = ray.pending("poll")
    content = {"members/tiny-f0/progress.json": b"{}"}
    ray.results[first] = [{"files": content, "final": True}, {"done": 3.0}]
    ray.results[second] = ConnectionError("node died")
    ended, lost = wait()
    assert ended == TaskEnded("slot 1", 3.0)
    assert (run.path / "members/tiny-f0/progress.json").read_bytes() == b"{}"
    assert isinstance(lost, SlotLost)
    assert lost.retry
    assert "host50 was lost" in str(lost.error)
    # A member is left: the lost slot is replaced, and no slot is released.
    pool.expect(1)
    assert ray.killed == 1
    pool.expect(0)
    assert [change.slot for change in wait() if isinstance(change, SlotLost)] == ["slot 1"]


@pytest.mark.usefixtures("affinity")
def test_checkpoints_arrive_while_a_member_trains_and_its_host_is_named(run: Run) -> None:
    ray = FakeRay(1)
    ray.ready = READY
    pool = RayPool(ray, run.path, "data", 1, True)
    events: list[Any] = []

    def wait() -> list[Any]:
        return list(pool.wait(0.01, lambda task, event: events.append((task, event))))

    (joined,) = [*wait(), *wait()]
    task = Task("tiny-f0", run.path, run.plan.members[0])
    pool.start(joined.slot, task)
    assert wait() == []
    started = MemberStarted("tiny-f0", "tiny", 0, 0, 100, 20, 20, 0)
    progress = "members/tiny-f0/progress.json"
    ray.results[ray.pending("poll")[-1]] = [
        {"event": "MemberStarted", **asdict(started)},
        {"files": {progress: b"{}"}, "final": False},
    ]
    assert wait() == []
    assert events == [(task, replace(started, node="host"))]
    assert (run.path / progress).read_bytes() == b"{}"
    ray.results[ray.pending("poll")[-1]] = [{"lost": "host: out of memory"}]
    (lost,) = wait()
    assert (lost.slot, str(lost.error), lost.retry) == ("slot 1", "host: out of memory", False)
    assert ray.killed == 1


@pytest.mark.usefixtures("affinity")
def test_an_interruption_stops_all_slots_and_requests_no_further_ones(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_cluster, "_NODES_SECONDS", 0.0)
    ray = FakeRay(1)
    pool = RayPool(ray, run.path, "data", 2, True)
    pool.wait(0.01, lambda *_: None)
    pool.interrupt()
    assert len(ray.pending("stop")) == 1
    ray.cpus = (1, 1)
    pool.wait(0.01, lambda *_: None)
    assert len(ray.pending("set_up")) == 1


@pytest.fixture
def cluster(affinity: None, monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    """A cluster of two cores, whose slots are ready at once."""
    ray = FakeRay(2)
    ray.ready = READY
    monkeypatch.setattr(ray_cluster, "connect", lambda _: ray)
    return ray


def test_a_training_on_a_cluster_ends_its_slots_and_closes_the_connection(
    cluster: FakeRay, run: Run, tmp_path: Path
) -> None:
    start = ray_cluster.workers_on_cluster("auto", run, tmp_path / "data", 2)
    assert start is not None
    with pytest.raises(ZeroDivisionError), start() as pool:
        assert pool.precision == "2 × float32 on a Ray cluster"
        assert len(pool.wait(0.01, lambda *_: None)) == 2
        raise ZeroDivisionError
    assert len(cluster.pending("close")) == cluster.killed == 2
    assert cluster.is_shut_down


@pytest.mark.usefixtures("affinity")
def test_a_slot_that_cannot_begin_a_member_is_lost_and_the_member_continues_elsewhere(
    run: Run,
) -> None:
    ray = FakeRay(1)
    ray.ready = READY
    pool = RayPool(ray, run.path, "data", 1, True)
    (joined,) = [*pool.wait(0.01, lambda *_: None), *pool.wait(0.01, lambda *_: None)]
    ray.start_error = ConnectionError("RayTaskError")
    ray.start_error.cause = OSError("No space left on device")  # type: ignore[attr-defined]
    pool.start(joined.slot, Task("tiny-f0", run.path, run.plan.members[0]))
    (lost,) = pool.wait(0.01, lambda *_: None)
    assert isinstance(lost, SlotLost)
    assert (lost.slot, str(lost.error)) == ("slot 1", "host: No space left on device")
    assert lost.retry
    assert len(ray.pending("close")) == ray.killed == 1


@pytest.mark.usefixtures("affinity")
def test_a_lost_slot_reports_the_training_that_its_checkpoint_keeps(run: Run) -> None:
    ray = FakeRay(1)
    ray.ready = READY
    pool = RayPool(ray, run.path, "data", 1, True)
    member = run.plan.members[0]
    folder = run.member_folder(member.name)
    write_progress(folder, Progress(epoch=3, seconds=20.0))
    (joined,) = [*pool.wait(0.01, lambda *_: None), *pool.wait(0.01, lambda *_: None)]
    pool.start(joined.slot, Task("tiny-f0", run.path, member))
    pool.wait(0.01, lambda *_: None)
    write_progress(folder, Progress(epoch=9, seconds=65.0))
    ray.results[ray.pending("poll")[-1]] = ConnectionError("node died")
    (lost,) = pool.wait(0.01, lambda *_: None)
    assert isinstance(lost, SlotLost)
    assert lost.trained == 45.0


@pytest.mark.usefixtures("affinity")
def test_predictions_of_earlier_weights_are_deleted_before_a_member_continues(run: Run) -> None:
    ray = FakeRay(1)
    ray.ready = READY
    pool = RayPool(ray, run.path, "data", 1, True)
    member = run.plan.members[0]
    store_out_of_fold(run, member, np.array([1]), np.zeros((1, 15, 2), np.float32))
    (joined,) = [*pool.wait(0.01, lambda *_: None), *pool.wait(0.01, lambda *_: None)]
    pool.start(joined.slot, Task("tiny-f0", run.path, member))
    # The slot is lost after the end of the training, before its predictions.
    write_files(run.path, {"members/tiny-f0/progress.json": b'{"epoch": 2, "stopped": "finished"}'})
    assert not is_finished(run, member)


def test_slots_for_a_comparison_get_the_files_of_the_run_and_predict_no_test_faces(
    cluster: FakeRay, run: Run, tmp_path: Path
) -> None:
    start = ray_cluster.workers_for_runs("auto", tmp_path / "data")
    with start(run.path, 1):
        pass
    (arguments,) = (given for call, given in cluster.calls if call.startswith("set_up"))
    name, files, data, gpu, test = arguments
    assert name == run.name
    assert files == read_run_files(run.path)
    assert data == read_data_files(tmp_path / "data")
    assert (gpu, test) == (False, False)


def test_a_network_that_no_slot_can_build_ends_the_training_before_it_begins(
    cluster: FakeRay, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_cluster, "_NODES_SECONDS", 0.0)
    cluster.ready = {"error": "tiny: the network is too large"}
    start = ray_cluster.workers_on_cluster("auto", run, tmp_path / "data", 1)
    assert start is not None
    with pytest.raises(RunError, match=r"^tiny: the network is too large$"), start():
        pass
    assert len(cluster.pending("close")) == cluster.killed == 2
    assert cluster.is_shut_down


class PartlyBrokenRay(FakeRay):
    """A cluster on whose first node no worker starts."""

    host = "host-a"

    def nodes(self) -> list[dict[str, Any]]:
        first, *others = super().nodes()
        return [{**first, "NodeManagerHostname": self.host}, *others]

    def fail(self, number: int, error: str | Exception = "the disk is full") -> None:
        """Let a worker fail to start."""
        result = error if isinstance(error, Exception) else {"error": error}
        self.results[self.pending("set_up")[number]] = result


@pytest.mark.usefixtures("affinity")
def test_after_two_failures_no_worker_is_started_on_a_node(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_cluster, "_NODES_SECONDS", 0.0)
    ray = PartlyBrokenRay(2, 1)
    pool = RayPool(ray, run.path, "data", 3, True)
    events: list[Any] = []

    def wait() -> list[Any]:
        return list(pool.wait(0.01, lambda task, event: events.append(event)))

    wait()
    assert len(ray.pending("set_up")) == 3
    ray.fail(0)
    ray.fail(1, ConnectionError("node died"))
    ray.results[ray.pending("set_up")[2]] = READY
    assert [type(change) for change in wait()] == [SlotLost, SlotLost, SlotJoined]
    assert events == [
        Waiting("no further worker is started on host-a: host-a was lost (ConnectionError)")
    ]
    for _ in range(3):
        assert wait() == []
    assert len(ray.pending("set_up")) == 3
    assert len(ray.pending("close")) == ray.killed == 2
    ray.cpus = (2, 1, 1)  # a node joins
    wait()
    assert len(ray.pending("set_up")) == 4
    assert pool.may_grow


@pytest.mark.usefixtures("affinity")
def test_a_pool_whose_workers_fail_to_start_on_all_nodes_does_not_grow(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_cluster, "_NODES_SECONDS", 0.0)
    ray = PartlyBrokenRay(1)
    pool = RayPool(ray, run.path, "data", 1, True)
    assert pool.may_grow
    for number in (0, 1):
        pool.wait(0.01, lambda *_: None)
        assert pool.may_grow
        ray.fail(number)
        pool.wait(0.01, lambda *_: None)
    assert not pool.may_grow


@pytest.mark.usefixtures("affinity")
def test_the_first_slot_may_be_on_a_node_that_is_tried_later(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    class SlowRay(PartlyBrokenRay):
        """Workers start after 5 s on the second node and fail at once on the first."""

        now, waits = 0.0, 0

        def wait(self, calls: list[str], **options: Any) -> tuple[list[str], list[str]]:
            self.waits += 1
            assert self.waits < 200, "the driver does not wait"
            self.now += options["timeout"]
            set_ups = self.pending("set_up")
            if len(set_ups) == 1:
                self.fail(0)
            elif self.now > 5:
                self.results.setdefault(set_ups[1], READY)
            return super().wait(calls, **options)

    ray = SlowRay(1, 1)
    monkeypatch.setattr(time, "monotonic", lambda: ray.now)
    pool = RayPool(ray, run.path, "data", 1, True)
    pool.wait_for_first_slot()
    lost, joined = pool.wait(0.01, lambda *_: None)
    assert (type(lost), joined) == (SlotLost, SlotJoined("slot 2"))
    assert pool.wait(0.01, lambda *_: None) == []


def test_nothing_to_train_needs_no_cluster(run: Run, tmp_path: Path) -> None:
    assert ray_cluster.workers_on_cluster("nowhere", run, tmp_path / "data", 0) is None


@pytest.mark.usefixtures("affinity")
def test_a_node_that_is_free_is_used_while_actors_wait_for_a_busy_node(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_cluster, "_NODES_SECONDS", 0.0)
    ray = FakeRay(2)
    pool = RayPool(ray, run.path, "data", 2, True)

    def wait() -> list[Any]:
        return list(pool.wait(0.01, lambda *_: None))

    wait()
    ray.cpus = (2, 4)
    wait()
    assert len(ray.pending("set_up")) == 2  # the first two may start at any moment
    monkeypatch.setattr(ray_cluster, "_PLACE_SECONDS", 0.0)
    wait()
    assert len(ray.pending("set_up")) == 4
    monkeypatch.setattr(ray_cluster, "_PLACE_SECONDS", 60.0)
    for call in ray.pending("set_up")[2:]:
        ray.results[call] = {"ready": "float32", "speed": 1.0, "node": "other"}
    assert [type(change) for change in wait()] == [SlotJoined, SlotJoined]
    pool.expect(2)
    assert ray.killed == 2  # the actors that still wait
    assert wait() == []


@pytest.mark.usefixtures("affinity")
def test_the_user_is_told_once_what_a_training_without_slots_waits_for(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_cluster, "_WAITING_SECONDS", 0.0)
    pool = RayPool(FakeRay(4), run.path, "data", 2, True)
    events: list[Any] = []
    for _ in range(3):
        pool.wait(0.01, lambda task, event: events.append(event))
    assert events == [Waiting("waiting for a free slot on the cluster: 0 of 4 CPUs are free")]


@pytest.mark.usefixtures("affinity")
def test_the_wait_for_a_busy_cluster_is_not_the_start_of_a_worker(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    class BusyRay(FakeRay):
        """A cluster with a free core after 100 s; TensorFlow takes another 7 s to start there."""

        now = 0.0

        def wait(self, calls: list[str], **options: Any) -> tuple[list[str], list[str]]:
            if options["timeout"]:
                self.now += 0.5
            if self.now >= 100:
                self.results.setdefault(self.pending("ping")[0], None)
            if self.now >= 107:
                ready = {"ready": "float32", "speed": 100.0, "node": "host"}
                self.results.setdefault(self.pending("set_up")[0], ready)
            return super().wait(calls, **options)

    ray = BusyRay(1)
    monkeypatch.setattr(time, "monotonic", lambda: ray.now)
    pool = RayPool(ray, run.path, "data", 2, True)
    pool.wait_for_first_slot()
    assert pool.waited == pytest.approx(100, abs=2)
    assert ray.now == pytest.approx(107, abs=2)


@pytest.mark.usefixtures("affinity")
def test_a_training_whose_slots_have_started_does_not_wait_for_free_slots(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_cluster, "_WAITING_SECONDS", 0.05)
    ray = FakeRay(4)
    pool = RayPool(ray, run.path, "data", 2, True)
    events: list[Any] = []
    pool.wait(0.01, lambda task, event: events.append(event))
    ray.results[ray.pending("ping")[0]] = None
    time.sleep(0.1)
    pool.wait(0.01, lambda task, event: events.append(event))
    assert events == [Waiting("1 slot of the cluster found; waiting for TensorFlow to start there")]


@pytest.mark.parametrize(
    ("resources", "slots"),
    [
        ({}, (0, False)),
        ({"CPU": 8.0}, (8, False)),
        ({"CPU": 8.0, "GPU": 2.0, "memory": 1e9}, (2, True)),
        # As on one machine: a core gets no worker without memory, but one worker always fits.
        ({"CPU": 8.0, "memory": 3 * 3.5e9}, (3, False)),
        ({"CPU": 2.0, "memory": 1e9}, (1, False)),
        ({"memory": 1e12}, (0, False)),
    ],
)
def test_slots_of_a_node(resources: dict[str, float], slots: tuple[int, bool]) -> None:
    assert ray_connection.node_slots({"Resources": resources}) == slots


def connected_to(monkeypatch: pytest.MonkeyPatch, *cpus: int) -> None:
    monkeypatch.setattr(ray_connection, "connect", lambda _: FakeRay(*cpus))


def test_estimates_for_a_cluster_use_its_slots(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connected_to(monkeypatch, 1, 1)
    assert ray_connection.cluster_devices("auto") == devices.Machine((), 2, devices.memory_for(2))
    members = run.plan.members
    one = MachineTimes.measure(tmp_path, "head:6379").times(members, lambda _: 100)
    assert one.workers == 2  # no more than members
    connected_to(monkeypatch, 1, 0)
    estimate = estimate_training(
        run.plan, members, tmp_path / "data", tmp_path, cluster="head:6379"
    )
    assert estimate.times.workers == 1
    assert "on 1 core of the cluster (2 networks)" in describe_estimate(estimate)
    # Speeds of the cluster are not remembered as those of this machine.
    assert estimate.machine.name == "Ray cluster head:6379/1 cores/0 GPUs"


def test_an_estimate_for_a_cluster_without_slots_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connected_to(monkeypatch, 0)
    with pytest.raises(FkdError, match="none of its nodes offers a CPU or a GPU"):
        MachineTimes.measure(tmp_path, "auto")


@pytest.mark.usefixtures("affinity")
def test_a_cluster_without_any_slot_is_refused(run: Run) -> None:
    with pytest.raises(FkdError, match="none of its nodes offers a CPU or a GPU"):
        RayPool(FakeRay(0), run.path, "data", 2, True).wait_for_first_slot()


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("somewhere", "is no address: write auto, HOST:PORT or ray://HOST:PORT"),
        ("host:99999", "is no address"),
        ("ray://", "is no address"),
    ],
)
def test_an_invalid_address_is_refused(address: str, message: str) -> None:
    with pytest.raises(FkdError, match=message):
        ray_connection.connect(address)


def test_an_address_where_nothing_answers_is_refused() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(FkdError, match=f"no Ray cluster answers at 127.0.0.1:{port}"):
        ray_connection.connect(f"127.0.0.1:{port}")


def test_without_ray_the_message_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(FkdError, match=r"pip install 'fkd-kaggle\[cluster\]'"):
        ray_connection.connect("auto")


@pytest.mark.parametrize("name", ["aws", "gcp"])
def test_cluster_files_fit_rays_schema(name: str) -> None:
    ray = pytest.importorskip("ray")
    jsonschema = pytest.importorskip("jsonschema")
    schema = Path(ray.__file__).parent / "autoscaler" / "ray-schema.json"
    config = yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text())
    jsonschema.validate(config, json.loads(schema.read_text()))
    assert config["head_node_type"] in config["available_node_types"]
