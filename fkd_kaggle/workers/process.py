"""The worker process: trains members on request.

Reads requests from stdin and writes to stdout, both as one JSON object a line. The first line is
{"ready": precision}. A request is answered with the events of its training, followed by
{"done": seconds besides training}, or by {"refused": message} if the member cannot be trained.
{"error": message} and {"interrupted": true} are the last lines of a worker that ends early. A
worker ends when stdin is closed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fkd_kaggle import user_code
from fkd_kaggle.errors import DataError, FkdError, RecipeError
from fkd_kaggle.nn import backend
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
        "check" to build all networks of the run before reporting that the worker is ready.

    Returns
    -------
    The exit code.
    """
    # A shell makes background jobs and their children ignore SIGINT, which stops a worker.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    send = _claim_stdout()
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    try:
        _serve(Path(run), Path(data_dir), check == "check", send)
    except FkdError as error:
        send({"error": str(error)})
        return error.exit_code
    except OSError as error:  # a full disk or a deleted folder
        send({"error": f"{error.filename}: {error.strerror}" if error.filename else str(error)})
        return FkdError.exit_code
    except KeyboardInterrupt:
        send({"interrupted": True})
    return 0


def _serve(path: Path, data_dir: Path, check: bool, send: Send) -> None:
    """Start Keras, report the precision and handle requests."""
    from fkd_kaggle.runs.folder import Run
    from fkd_kaggle.training.member import read_training_data, train_member

    def on_event(event: Event) -> None:
        send({"event": type(event).__name__, **asdict(event)})

    run = Run.open(path)
    _trust(run)
    data = read_training_data(run, data_dir)
    policy = backend.start_keras(run.plan.precision, together=True)
    if check:
        from fkd_kaggle.training.network import check_networks

        check_networks(member.recipe for member in run.plan.members)
    send({"ready": policy})
    for line in sys.stdin:
        request = json.loads(line)
        if request["run"] != str(run.path):
            run = Run.open(Path(request["run"]))
            _trust(run)
            data = read_training_data(run, data_dir)
        (member,) = (member for member in run.plan.members if member.name == request["member"])
        used = data if request["test"] else replace(data, test=None)
        try:
            seconds = train_member(
                run,
                member,
                used,
                request["budget"],
                on_event,
                tensorboard=request["tensorboard"],
            )
        except (DataError, RecipeError) as error:
            send({"refused": str(error)})
        else:
            send({"done": seconds})


def _trust(run: Run) -> None:
    """Allow the code of a run's recipes, which the parent process has checked."""
    for member in run.plan.members:
        user_code.trust(member.recipe.code)


def _exit_with_parent() -> None:
    """Exit when the parent process has ended, because nobody would use the results."""
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _claim_stdout() -> Send:
    """Return a function that writes messages to stdout; other output goes to stderr."""
    sys.stdout.flush()
    messages = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def send(message: dict[str, Any]) -> None:
        print(json.dumps(message), file=messages, flush=True)

    return send
