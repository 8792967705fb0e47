"""A slot on a Ray cluster: an actor with a worker process and a copy of the run's files.

The actor trains in a process of its own, as ``workers.local`` does, so that TensorFlow can be
stopped and its crash ends no node. It keeps the files of the members that it trains in a temporary
folder and hands out their new versions with the events. Ray is not imported here: the class becomes
an actor in ``workers.ray_cluster``.
"""

from __future__ import annotations

import os
import queue
import shutil
import socket
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from fkd_kaggle.errors import FkdError
from fkd_kaggle.workers.devices import Slot
from fkd_kaggle.workers.local import Messages, WorkerOptions, WorkerProcess
from fkd_kaggle.workers.pool import Task
from fkd_kaggle.workers.transfer import DataFiles, read_files, write_files

_START_SECONDS: Final = 600.0


class RaySlot:
    """One slot; its methods are called from the machine that runs the command."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="fkd-"))
        self._messages: Messages = queue.Queue()
        self._worker: WorkerProcess | None = None
        self._task: Task | None = None
        self._sent: float | None = None

    def ping(self) -> None:
        """Do nothing: the answer shows that Ray has found a place for the actor."""

    def set_up(
        self, run: str, files: dict[str, bytes], data: DataFiles, gpu: bool, test: bool
    ) -> dict[str, Any]:
        """Write the files, start the worker process and wait until Keras has started.

        Parameters
        ----------
        run
            Name of the first run.
        files
            Its files: run.json and folds.npy.
        data
            Files of the data folder.
        gpu
            Whether the slot has a GPU, which Ray names in CUDA_VISIBLE_DEVICES; otherwise it has
            one CPU thread.
        test
            Whether test faces are predicted.

        Returns
        -------
        dict
            "ready": precision, "speed" and "node", or "error": message.
        """
        data.write(self._folder / "data")
        write_files(self._folder / "runs" / run, files)
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        slot = Slot(gpus=tuple(visible.split(","))) if gpu and visible else Slot(threads=1)
        options = WorkerOptions(test=test, check=False, measure=True)
        path = self._folder / "runs" / run
        self._worker = WorkerProcess(
            "slot", path, self._folder / "data", slot, options, self._messages
        )
        try:
            _, message = self._messages.get(timeout=_START_SECONDS)
        except queue.Empty:
            return {"error": "the worker process does not start"}
        if message is None:
            return {"error": self._worker.exit_message("starting")}
        return {**message, "node": socket.gethostname()}

    def start(self, run: str, files: dict[str, bytes], task: Task) -> None:
        """Begin to train a member.

        Parameters
        ----------
        run
            Name of the run.
        files
            Files of the run and of the member, by path in the run folder.
        task
            The task; its folder is replaced by the folder here.
        """
        assert self._worker is not None
        path = self._folder / "runs" / run
        shutil.rmtree(path / "members" / task.member.name, ignore_errors=True)
        write_files(path, files)
        self._task = Task(task.title, path, task.member, task.budget, task.seconds)
        self._sent = self._stamp()
        self._worker.train(self._task)

    def poll(self, seconds: float) -> list[dict[str, Any]]:
        """Return the messages of the worker, and new files of the member.

        Parameters
        ----------
        seconds
            Longest time to wait for a message.

        Returns
        -------
        list of dict
            Messages as ``workers.process`` describes them, at most one ``StepEnded`` among them.
            {"files": …} comes before the message that ends a member; {"lost": message} is the
            last, if the worker process has ended.
        """
        assert self._worker is not None
        messages: list[dict[str, Any]] = []
        until = time.monotonic() + seconds
        step: dict[str, Any] | None = None
        while (left := until - time.monotonic()) > 0 or not self._messages.empty():
            try:
                _, message = self._messages.get(timeout=max(left, 0.001))
            except queue.Empty:
                break
            if message is None:
                messages.append({"lost": self._lost_message()})
                return messages
            if message.get("event") == "StepEnded":
                step = message
                continue
            if "error" in message:
                self._worker.error = message["error"]
                continue
            if "event" not in message:
                messages += self._new_files(final=True)
            messages.append(message)
            if message.get("event") != "EpochEnded":
                break  # report at once
        messages += self._new_files()
        return messages + ([step] if step else [])

    def stop(self) -> None:
        """Make the worker write its checkpoint and end."""
        if self._worker is not None:
            self._worker.stop()

    def close(self) -> None:
        """End the worker process and delete the files."""
        if self._worker is not None:
            self._worker.close(kill=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _lost_message(self) -> str:
        assert self._worker is not None
        activity = self._task.title if self._task else "waiting for work"
        reason = self._worker.error or self._worker.exit_message(activity)
        return f"{socket.gethostname()}: {reason}"

    def _stamp(self) -> float | None:
        """Return when the member's progress was written, which is the last file of a checkpoint."""
        if self._task is None:
            return None
        path = self._task.run / "members" / self._task.member.name / "progress.json"
        with suppress(OSError):
            return path.stat().st_mtime
        return None

    def _new_files(self, *, final: bool = False) -> list[dict[str, Any]]:
        """Return a message with the member's files if there is a new checkpoint or if it ended."""
        if self._task is None:
            return []
        for _ in range(10):
            stamp = self._stamp()
            if stamp == self._sent and not final:
                return []
            with suppress(OSError, FkdError):
                files = read_files(self._task.run, self._task.member.name)
                if stamp == self._stamp():  # nothing was written meanwhile
                    self._sent = stamp
                    return [{"files": files, "final": final}]
        return []
