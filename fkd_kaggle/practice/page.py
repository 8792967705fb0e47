"""The practice Kaggle's page for people, and the door through which faults are set.

Everything shown is escaped by the template; nothing is loaded from elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import flask

from fkd_kaggle.errors import CompetitionError
from fkd_kaggle.practice.competition import TITLE, PracticeCompetition
from fkd_kaggle.practice.dataset import SERVED, SLUG
from fkd_kaggle.practice.fault_injection import KINDS, Faults
from fkd_kaggle.practice.kernels.host import KernelHost
from fkd_kaggle.practice.kernels.store import KernelVersion
from fkd_kaggle.practice.wire_format import refuse

T = TypeVar("T")

_LOG_LINES: Final = 1000


def blueprint(host: PracticeCompetition, faults: Faults) -> flask.Blueprint:
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

    @routes.get("/code/<owner>/<slug>")
    @routes.get("/code/<owner>/<slug>/<int:number>")
    def kernel(owner: str, slug: str, number: int | None = None) -> str:
        return _kernel(host.kernels, owner, slug, number)

    @routes.get("/practice/kernels")
    def list_kernels() -> flask.Response:
        return flask.jsonify([_summary(one) for one in host.kernels.versions.all()])

    @routes.post("/practice/kernels/cancel")
    def cancel_kernel() -> flask.Response:
        version = host.kernels.versions.session(_posted("session", int))
        if version is None or version.over:
            refuse(404, "No such kernel runs")
        host.kernels.cancel(version)
        return flask.jsonify(_summary(version))

    @routes.get("/practice/faults")
    def list_faults() -> flask.Response:
        return flask.jsonify([str(fault) for fault in faults.all()])

    @routes.post("/practice/faults")
    def add_fault() -> flask.Response:
        try:
            faults.add(_posted("fault", str))
        except CompetitionError as error:
            refuse(400, str(error))
        return list_faults()

    @routes.delete("/practice/faults")
    def clear_faults() -> flask.Response:
        faults.clear()
        return list_faults()

    return routes


def _posted(name: str, kind: type[T]) -> T:
    """Return a value of the posted JSON; a web page elsewhere cannot post any unasked."""
    body = flask.request.get_json(silent=True)
    value = body.get(name) if isinstance(body, dict) else None
    if not isinstance(value, kind):
        refuse(400, f'Post {{"{name}": …}} as JSON')
    return value


def _kernel(kernels: KernelHost, owner: str, slug: str, number: int | None) -> str:
    version = kernels.versions.find(owner, slug, number)
    if version is None:
        refuse(404, "Not found")
    log = json.loads(kernels.versions.log(version))
    end = version.ended or kernels.now()
    return flask.render_template(
        "kernel.html",
        title=TITLE,
        kernel=version,
        versions=kernels.versions.of(owner, slug),
        output=list(_output(kernels, version)),
        log=log[-_LOG_LINES:],
        took=None if version.started is None else f"{end - version.started:,.0f} s",
    )


def _output(kernels: KernelHost, version: KernelVersion) -> Iterator[tuple[str, str, int]]:
    """Yield name, address and bytes of what a kernel left."""
    for name in kernels.versions.output(version):
        url = flask.url_for("kernels.output_file", session=version.session, name=name)
        yield name, url, (kernels.versions.working(version) / name).stat().st_size


def _summary(version: KernelVersion) -> dict[str, Any]:
    return {
        "kernel": version.ref,
        "version": version.version,
        "session": version.session,
        "status": version.status,
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
