"""The practice Kaggle's page for people, and the door through which faults are set.

Everything shown is escaped by the template; nothing is loaded from elsewhere.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import flask

from fkd_kaggle.errors import CompetitionError
from fkd_kaggle.practice.dataset import SERVED, SLUG
from fkd_kaggle.practice.faults import KINDS, Faults
from fkd_kaggle.practice.host import TITLE, Host
from fkd_kaggle.practice.wire import refuse


def blueprint(host: Host, faults: Faults) -> flask.Blueprint:
    """Return the routes for people."""
    routes = flask.Blueprint("page", __name__)

    @routes.get("/")
    def index() -> str:
        return flask.render_template(
            "page.html",
            title=TITLE,
            about=host.dataset.about,
            scored=host.dataset.scorer.answers is not None,
            rows=len(host.dataset.scorer.row_ids),
            files=[(name, host.dataset.file(name).stat().st_size) for name in SERVED],
            leaderboard=host.leaderboard(),
            submissions=host.store.submissions(),
            daily_limit=host.daily_limit,
            kernels=host.kernels.versions.all(),
            faults=[(str(fault), KINDS[fault.kind]) for fault in faults.all()],
            time=_time,
        )

    @routes.get("/competitions/<slug>")
    def competition(slug: str) -> Any:
        if slug != SLUG:
            refuse(404, "Not found")
        return flask.redirect("/")

    @routes.get("/practice/faults")
    def list_faults() -> flask.Response:
        return flask.jsonify([str(fault) for fault in faults.all()])

    @routes.post("/practice/faults")
    def add_fault() -> flask.Response:
        # Only JSON: that a web page elsewhere cannot post without this server's consent.
        body = flask.request.get_json(silent=True)
        if not isinstance(body, dict) or not isinstance(body.get("fault"), str):
            refuse(400, 'Post {"fault": "kind:option=value,…"} as JSON')
        try:
            faults.add(body["fault"])
        except CompetitionError as error:
            refuse(400, str(error))
        return list_faults()

    @routes.delete("/practice/faults")
    def clear_faults() -> flask.Response:
        faults.clear()
        return list_faults()

    return routes


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
