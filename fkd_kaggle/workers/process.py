"""One process of a ``fleet``: trains members as it is told, on what it is given of the machine.

Reads orders from stdin and tells on stdout, a line of JSON each: {"ready": precision}, then for
each order the events of its training and {"done": seconds besides training}, or {"refused": line}
if that member cannot be trained; {"error": line} or {"interrupted": true} at the end. Ends when
stdin does.
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
from typing import Any

from fkd_kaggle.errors import DataError, FkdError, RecipeError
from fkd_kaggle.nn import backend
from fkd_kaggle.training.events import Event


def main(data_dir: str, run: str, check: str) -> int:
    """Train members of runs until stdin ends; return the exit code.

    Parameters
    ----------
    run
        The folder of the first run, or the only one: says what precision to start with.
    check
        "check" to refuse to start if one of its networks cannot be built.
    """
    # Shells have background jobs ignore it, and so would we; our parent stops us by it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    tell = _claim_stdout()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        _work(Path(run), Path(data_dir), check == "check", tell)
    except FkdError as error:
        tell({"error": str(error)})
        return error.exit_code
    except OSError as error:  # a disk that is full, a folder that is gone
        tell({"error": f"{error.filename}: {error.strerror}" if error.filename else str(error)})
        return FkdError.exit_code
    except KeyboardInterrupt:
        tell({"interrupted": True})
    return 0


def _work(path: Path, data_dir: Path, check: bool, tell: Callable[[dict[str, Any]], None]) -> None:
    from fkd_kaggle.runs.folder import Run
    from fkd_kaggle.training.member import read_training_data, train_member

    def on_event(event: Event) -> None:
        tell({"event": type(event).__name__, **asdict(event)})

    run = Run.open(path)
    material = read_training_data(run, data_dir)
    policy = backend.start_keras(run.plan.precision, together=True)
    if check:
        from fkd_kaggle.training import network

        network.check_networks(member.recipe for member in run.plan.members)
    tell({"ready": policy})
    for line in sys.stdin:
        order = json.loads(line)
        if order["run"] != str(run.path):
            run = Run.open(Path(order["run"]))
            material = read_training_data(run, data_dir)
        (member,) = (one for one in run.plan.members if one.name == order["member"])
        known = material if order["test"] else replace(material, test=None)
        try:
            extra = train_member(
                run, member, known, order["budget"], on_event, order["tensorboard"]
            )
        except (DataError, RecipeError) as error:
            tell({"refused": str(error)})
        else:
            tell({"done": extra})


def _end_with_parent() -> None:
    """End at once when whoever started us is killed: nobody would collect what we train on."""
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _claim_stdout() -> Callable[[dict[str, Any]], None]:
    """Keep stdout to ourselves: what libraries print goes to stderr."""
    sys.stdout.flush()
    messages = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def tell(message: dict[str, Any]) -> None:
        print(json.dumps(message), file=messages, flush=True)

    return tell
