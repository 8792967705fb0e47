"""The practice Kaggle as a Flask application: its blueprints, authentication and error responses.

Opens no socket; ``server`` serves the application.
"""

from __future__ import annotations

from typing import Final

import flask
import jinja2

from fkd_kaggle.practice import competition_api, control_api, fault_injection, page, uploads
from fkd_kaggle.practice.competition import PracticeCompetition
from fkd_kaggle.practice.fault_injection import Faults
from fkd_kaggle.practice.kernels import api
from fkd_kaggle.practice.uploads import Uploads
from fkd_kaggle.practice.wire_format import ErrorResponse, refuse
from fkd_kaggle.report import html

TOKEN_USER: Final = "practice"
"""Name of the user who authenticates with a token."""


def make_app(competition: PracticeCompetition, received: Uploads, faults: Faults) -> flask.Flask:
    """Return the application.

    Parameters
    ----------
    competition
        The rules and the data.
    received
        Uploads of submission files.
    faults
        Failures to simulate.
    """
    app = flask.Flask(__name__)  # templates lie in templates/ beside this file
    layout = jinja2.FileSystemLoader(html.template_folder())
    app.jinja_loader = jinja2.ChoiceLoader([layout, *filter(None, [app.jinja_loader])])
    app.before_request(_refuse_other_hosts)
    fault_injection.install_faults(app, faults)
    app.before_request(_authenticate)
    app.register_error_handler(ErrorResponse, ErrorResponse.response)
    app.register_error_handler(ConnectionError, lambda _: flask.Response())  # never received
    app.register_error_handler(404, lambda _: ErrorResponse(404, "Not found").response())
    app.register_blueprint(competition_api.blueprint(competition, received))
    app.register_blueprint(uploads.blueprint(received))
    app.register_blueprint(page.blueprint(competition, faults))
    app.register_blueprint(control_api.blueprint(competition.kernels, faults))
    app.register_blueprint(api.blueprint(competition.kernels))
    return app


def _refuse_other_hosts() -> None:
    """Refuse requests to other host names, by which web pages could reach 127.0.0.1."""
    # DNS rebinding: a web page's own host name may resolve to 127.0.0.1.
    name = flask.request.host.rsplit(":", 1)[0].strip("[]")
    if name not in ("localhost", "127.0.0.1", "::1"):
        refuse(403, "a practice Kaggle only talks to its own machine")


def _authenticate() -> None:
    """Set the request's user. Any key and any token is accepted, and none is stored."""
    if not flask.request.path.startswith("/api/v1/"):
        return
    credentials = flask.request.authorization
    if flask.request.path.endswith("/IntrospectToken"):
        flask.g.user = TOKEN_USER  # the client asks for the user of its token
    elif credentials is not None and credentials.type == "bearer" and credentials.token:
        flask.g.user = TOKEN_USER
    elif credentials is not None and credentials.username and credentials.password:
        flask.g.user = credentials.username
    else:
        refuse(401, "Unauthenticated")
