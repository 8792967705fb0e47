"""One process of a ``fleet``: trains members as it is told, on what it is given of the machine.

Reads orders from stdin and tells on stdout, a line of JSON each: {"ready": precision}, then for
each order the events of its training and {"done": seconds besides training}, or {"refused": line}
if that member cannot be trained; {"error": line} or {"interrupted": true} at the end. Ends when
stdin does.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from fkd_kaggle import backend
from fkd_kaggle.errors import DataError, FkdError, RecipeError
from fkd_kaggle.events import Event


def main(data_dir: str, *runs: str) -> int:
    """Train members of the runs in these folders until stdin ends; return the exit code.

    The recipes of a single run are checked before anything is trained; of several, as in a
    comparison, one that cannot be trained leaves the others their turn.
    """
    tell = _teller()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        _work([Path(run) for run in runs], Path(data_dir), tell)
    except FkdError as error:
        tell({"error": str(error)})
        return error.exit_code
    except OSError as error:  # a disk that is full, a folder that is gone
        tell({"error": f"{error.filename}: {error.strerror}" if error.filename else str(error)})
        return FkdError.exit_code
    except KeyboardInterrupt:
        tell({"interrupted": True})
    return 0


def _work(paths: list[Path], data_dir: Path, tell: Callable[[dict[str, Any]], None]) -> None:
    from fkd_kaggle import ensemble
    from fkd_kaggle.run import Run

    def on_event(event: Event) -> None:
        tell({"event": type(event).__name__, **asdict(event)})

    run = Run.open(paths[0])
    material = ensemble.read_material(run, data_dir)
    policy = backend.start(run.plan.precision, together=True)
    if len(paths) == 1:
        from fkd_kaggle import networks

        networks.check(member.recipe for member in run.plan.members)
    tell({"ready": policy})
    for line in sys.stdin:
        order = json.loads(line)
        if order["run"] != str(run.path):
            run = Run.open(Path(order["run"]))
            material = ensemble.read_material(run, data_dir)
        (member,) = (one for one in run.plan.members if one.name == order["member"])
        known = material if order["test"] else replace(material, test=None)
        try:
            extra = ensemble.train_member(
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


def _teller() -> Callable[[dict[str, Any]], None]:
    """Keep stdout to ourselves: what libraries print goes to stderr."""
    sys.stdout.flush()
    messages = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def tell(message: dict[str, Any]) -> None:
        print(json.dumps(message), file=messages, flush=True)

    return tell
