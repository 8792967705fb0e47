"""The practice Kaggle as a Flask application: its blueprints, authentication and error responses.

Opens no socket; ``server`` serves the application.
"""

from __future__ import annotations

import sys
from typing import Final

import flask
import jinja2
from werkzeug.exceptions import HTTPException

from fkd_kaggle.errors import redact
from fkd_kaggle.formatting import one_line
from fkd_kaggle.practice import competition_api, control_api, fault_injection, page, uploads
from fkd_kaggle.practice.competition import PracticeCompetition
from fkd_kaggle.practice.fault_injection import Faults
from fkd_kaggle.practice.kernels import api
from fkd_kaggle.practice.uploads import Uploads
from fkd_kaggle.practice.wire_format import ErrorResponse, refuse
from fkd_kaggle.report import html, loopback

TOKEN_USER: Final = "practice"
"""Name of the user who authenticates with a token."""

MAX_JSON_SIZE: Final = 8 << 20
"""Maximum size of a request in bytes; the source of a kernel, up to 1 MB, is the largest part."""


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
    app.config["MAX_CONTENT_LENGTH"] = MAX_JSON_SIZE  # ``uploads`` streams and has its own limit
    app.before_request(_refuse_other_hosts)
    fault_injection.install_faults(app, faults)
    app.before_request(_authenticate)
    app.register_error_handler(ErrorResponse, ErrorResponse.response)
    app.register_error_handler(ConnectionError, lambda _: flask.Response())  # never received
    app.register_error_handler(HTTPException, _explain_http_error)
    app.register_error_handler(Exception, _explain_exception)
    app.after_request(_isolate_content)
    app.register_blueprint(competition_api.blueprint(competition, received))
    app.register_blueprint(uploads.blueprint(received))
    app.register_blueprint(page.blueprint(competition, faults))
    app.register_blueprint(control_api.blueprint(competition.kernels, faults))
    app.register_blueprint(api.blueprint(competition.kernels))
    return app


def _refuse_other_hosts() -> None:
    """Refuse requests to other host names, by which web pages could reach 127.0.0.1."""
    if not loopback.is_this_machine(flask.request.host):
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


def _explain_http_error(error: HTTPException) -> flask.Response:
    """Return an error of Flask, such as 404 or 413, in Kaggle's form."""
    if isinstance(error.response, flask.Response):
        return error.response
    return ErrorResponse(error.code or 500, error.name).response()


def _explain_exception(error: Exception) -> flask.Response:
    """Return the response for an unforeseen exception, and print one line about it."""
    line = f"practice Kaggle: {flask.request.path}: {type(error).__name__}: {error}"
    print(one_line(redact(line), 300), file=sys.stderr)
    return ErrorResponse(500, "Internal server error").response()


def _isolate_content(answer: flask.Response) -> flask.Response:
    """Let browsers run nothing of submitted files and kernels' output in this origin."""
    answer.headers["X-Content-Type-Options"] = "nosniff"
    answer.headers["X-Frame-Options"] = "DENY"
    if flask.request.path.startswith("/storage/"):
        # Scripts of a report run, but in an origin of their own, without access to this server.
        answer.headers["Content-Security-Policy"] = "sandbox allow-scripts"
    return answer
