"""The worker process: trains members on request.

Reads requests from stdin and writes to stdout, both as one JSON object a line. The first line that
it writes is {"ready": precision, "speed": relative speed of its devices}. A request {"train": …} is
answered with the events of its training, followed by {"done": seconds besides training}, by
{"refused": message} if the member cannot be trained, or by {"stopped": true} after a request
{"stop": true}, which makes the training write its checkpoint. {"error": message} is the last line
of a worker that cannot continue. A worker ends when stdin is closed; then nobody would use the
results, so it does not finish a training.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fkd_kaggle import files, user_code
from fkd_kaggle.errors import DataError, FkdError, RecipeError
from fkd_kaggle.formatting import first_line
from fkd_kaggle.nn import backend, keras_settings
from fkd_kaggle.training import interruption
from fkd_kaggle.training.events import Event

if TYPE_CHECKING:
    from fkd_kaggle.runs.folder import Run

Send = Callable[[dict[str, Any]], None]


def main(data_dir: str, run: str, check: str) -> int:
    """Train members until stdin is closed.

    Parameters
    ----------
    data_dir
        Folder of the competition's files.
    run
        Folder of the first run, or of the only one; its plan sets the precision.
    check
        "check" to build all networks of the run before reporting that the worker is ready, "speed"
        to measure the speed of its devices.

    Returns
    -------
    The exit code.
    """
    # Ctrl-C reaches all processes of a terminal. The process that started this one decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keras_settings.claim_process()
    send = _claim_stdout()
    requests = _Requests()
    try:
        _serve(Path(run), Path(data_dir), check, requests, send)
    except FkdError as error:
        send({"error": str(error)})
        return error.exit_code
    except OSError as error:  # a full disk or a deleted folder
        send({"error": f"{error.filename}: {error.strerror}" if error.filename else str(error)})
        return FkdError.exit_code
    return 0


class _Requests:
    """The requests from stdin, read in a thread of their own."""

    def __init__(self) -> None:
        self._queue: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._training = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()

    def next(self) -> dict[str, Any] | None:
        """Wait for the next request; None if the worker shall end."""
        self._training.clear()
        request = self._queue.get()
        self._training.set()
        return request

    def _read(self) -> None:
        for line in sys.stdin:
            message = json.loads(line)
            if "stop" in message:
                interruption.request()
                self._queue.put(None)
            else:
                self._queue.put(message["train"])
        if self._training.is_set():
            os._exit(1)
        self._queue.put(None)


def _serve(path: Path, data_dir: Path, check: str, requests: _Requests, send: Send) -> None:
    """Start Keras, report the precision and handle requests."""
    from fkd_kaggle.runs.folder import Run
    from fkd_kaggle.training.member import read_training_data, train_member

    def on_event(event: Event) -> None:
        send({"event": type(event).__name__, **asdict(event)})

    run = Run.open(path)
    _trust(run)
    data = read_training_data(run, data_dir)
    policy = backend.start_keras(run.plan.precision, together=True)
    if check == "check":
        from fkd_kaggle.training.network import check_networks

        check_networks(member.recipe for member in run.plan.members)
    send({"ready": policy, "speed": backend.measure_speed() if check == "speed" else 1.0})
    while (request := requests.next()) is not None:
        if request["run"] != str(run.path):
            run = Run.open(Path(request["run"]))
            _trust(run)
            data = read_training_data(run, data_dir)
        (member,) = (member for member in run.plan.members if member.name == request["member"])
        try:
            seconds = train_member(
                run,
                member,
                data if request["test"] else replace(data, test=None),
                request["budget"],
                on_event,
                seconds=request["seconds"],
                tensorboard=request["tensorboard"],
            )
        except KeyboardInterrupt:
            send({"stopped": True})
            return
        except (DataError, RecipeError) as error:
            send({"refused": str(error)})
        except (FkdError, OSError):
            raise
        except Exception as error:
            send({"refused": _record_crash(run, member.name, error)})
        else:
            send({"done": seconds})


def _trust(run: Run) -> None:
    """Allow the code of a run's recipes, which the parent process has checked."""
    for member in run.plan.members:
        user_code.trust(member.recipe.code)


def _record_crash(run: Any, member: str, error: Exception) -> str:
    """Write the traceback of an unforeseen error to the member's folder; return its message."""
    target = run.member_folder(member) / "error.txt"
    files.write_text(target, "".join(traceback.format_exception(error)))
    return f"{type(error).__name__}: {first_line(error)[:200]} (traceback: {target})"


def _claim_stdout() -> Send:
    """Return a function that writes messages to stdout; other output goes to stderr."""
    sys.stdout.flush()
    messages = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def send(message: dict[str, Any]) -> None:
        try:
            print(json.dumps(message), file=messages, flush=True)
        except OSError:
            os._exit(1)  # nobody reads the results

    return send
