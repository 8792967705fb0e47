"""Page of a training under way, served on the loopback interface only.

The page asks for new data every few seconds. What it shows comes from the events of the training
and from the histories in the run's folder. The report is written after the training, when the page
is not served any more.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import flask
from werkzeug.serving import make_server

from fkd_kaggle.report import html, loopback
from fkd_kaggle.report.run_data import learning_curves, to_json
from fkd_kaggle.runs.folder import Run
from fkd_kaggle.runs.members import member_progress
from fkd_kaggle.training.events import (
    EpochEnded,
    Event,
    MemberEnded,
    MemberFailed,
    MemberStarted,
    StepEnded,
)

SCRIPTS: Final = ("vega.min.js", "vega-lite.min.js", "live.js")


@dataclass
class LiveRun:
    """What is known of a training under way; several threads read and write it."""

    run: Run
    url: str = ""
    """Address of the page."""
    _members: dict[str, dict[str, Any]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def on_event(self, event: Event) -> None:
        """Take an event of the training."""
        name = getattr(event, "member", None)
        if name is None:
            return
        with self._lock:
            self._members.setdefault(name, {}).update(_changes(event))

    def describe(self) -> dict[str, Any]:
        """Return the JSON value that the page shows."""
        with self._lock:
            events = {name: dict(values) for name, values in self._members.items()}
        members = []
        for member in self.run.plan.members:
            progress = member_progress(self.run, member)
            stored = {
                "name": member.name,
                "recipe": member.recipe.name,
                "epoch": progress.epoch,
                "epochs": self.run.plan.most_epochs(member),
                "best": progress.best_rmse,
                "state": progress.stopped or ("paused" if progress.epoch else "waiting"),
            }
            members.append({**stored, **events.get(member.name, {})})
        value = {
            "run": self.run.name,
            "status": self.run.status,
            "members": members,
            "curves": learning_curves(self.run),
        }
        return dict(to_json(value))


@contextmanager
def serve_live_page(run: Run) -> Iterator[LiveRun]:
    """Serve the page of a training on a free port of this machine until the block ends.

    Parameters
    ----------
    run
        The run that is trained.

    Yields
    ------
    The state, which takes the events of the training; its ``url`` is the page's address.
    """
    live = LiveRun(run)
    server = make_server(loopback.ADDRESS, 0, _make_app(live), threaded=True)
    live.url = f"http://{loopback.ADDRESS}:{server.server_port}/"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield live
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _make_app(live: LiveRun) -> flask.Flask:
    """Return the application that serves the page and its data."""
    import logging

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # no line for each request
    app = flask.Flask(__name__, static_folder=None)

    @app.before_request
    def check_host() -> None:
        if not loopback.is_this_machine(flask.request.host):
            flask.abort(403)

    @app.get("/")
    def index() -> str:
        title = f"Training of {live.run.name}"
        return html.render_page("live.html", title=title, scripts=SCRIPTS, connects=True)

    @app.get("/data.json")
    def data() -> flask.Response:
        return flask.jsonify(live.describe())

    return app


def _changes(event: Event) -> dict[str, Any]:
    """Return what an event changes in the state of its member."""
    if isinstance(event, MemberStarted):
        return {"state": "training", "epoch": event.resumed_epoch}
    if isinstance(event, StepEnded):
        return {
            "state": "training",
            "epoch": event.epoch - 1 + event.step / max(event.steps, 1),
            "loss": event.loss,
            "left": event.seconds_left,
        }
    if isinstance(event, EpochEnded):
        return {"epoch": event.epoch, "best": event.best_rmse, "loss": event.loss}
    if isinstance(event, MemberEnded):
        return {"state": event.stopped, "rmse": event.rmse, "left": 0.0}
    if isinstance(event, MemberFailed):
        return {"state": f"failed: {event.reason}"}
    return {}
