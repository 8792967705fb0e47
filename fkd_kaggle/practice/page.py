"""The practice Kaggle's web pages: the competition and its kernels.

The templates escape all values and load nothing from other servers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

import flask

from fkd_kaggle.practice.competition import TITLE, PracticeCompetition
from fkd_kaggle.practice.dataset import SERVED, SLUG
from fkd_kaggle.practice.fault_injection import KINDS, Faults
from fkd_kaggle.practice.kernels.host import KernelHost
from fkd_kaggle.practice.kernels.store import KernelVersion
from fkd_kaggle.practice.wire_format import refuse
from fkd_kaggle.report import html

_MAX_LOG_LINES: Final = 1000


def blueprint(competition: PracticeCompetition, faults: Faults) -> flask.Blueprint:
    """Return the routes of the pages.

    Parameters
    ----------
    competition
        The competition to show.
    faults
        The faults to show.
    """
    routes = flask.Blueprint("page", __name__)

    @routes.get("/")
    def index() -> str:
        dataset = competition.dataset
        return flask.render_template(
            "page.html",
            title=TITLE,
            **html.page_frame(),
            about=dataset.about,
            scored=dataset.scorer.solution is not None,
            rows=len(dataset.scorer.row_ids),
            files=[(name, dataset.file(name).stat().st_size) for name in SERVED],
            leaderboard=competition.leaderboard(),
            submissions=competition.store.submissions(),
            daily_limit=competition.daily_limit,
            kernels=competition.kernels.versions.all(),
            faults=[(str(fault), KINDS[fault.kind]) for fault in faults.all()],
            time=_format_time,
        )

    @routes.get("/competitions/<slug>")
    def show_competition(slug: str) -> Any:
        if slug != SLUG:
            refuse(404, "Not found")
        return flask.redirect("/")

    @routes.get("/code/<owner>/<slug>")
    @routes.get("/code/<owner>/<slug>/<int:number>")
    def show_kernel(owner: str, slug: str, number: int | None = None) -> str:
        version = competition.kernels.versions.find(owner, slug, number)
        if version is None:
            refuse(404, "Not found")
        return _render_kernel(competition.kernels, version)

    return routes


def _render_kernel(kernels: KernelHost, version: KernelVersion) -> str:
    log = json.loads(kernels.versions.log(version))
    end = version.ended or kernels.now()
    return flask.render_template(
        "kernel.html",
        title=TITLE,
        **html.page_frame(() if version.is_finished else ("cancel.js",), connects=True),
        kernel=version,
        versions=kernels.versions.of(version.owner, version.slug),
        output=list(_output(kernels, version)),
        log=log[-_MAX_LOG_LINES:],
        took=None if version.started is None else f"{end - version.started:,.0f} s",
    )


def _output(kernels: KernelHost, version: KernelVersion) -> Iterator[tuple[str, str, int]]:
    """Yield name, URL and bytes of a kernel's output files."""
    for name in kernels.versions.output(version):
        url = flask.url_for("kernels.output_file", session=version.session, name=name)
        yield name, url, (kernels.versions.working(version) / name).stat().st_size


def _format_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
