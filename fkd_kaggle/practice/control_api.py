"""JSON routes that control a practice Kaggle: set faults, list and cancel kernels.

They are not part of Kaggle's API. Requests must be JSON, which web pages of other origins cannot
send without permission.
"""

from __future__ import annotations

from typing import Any, TypeVar

import flask

from fkd_kaggle.errors import CompetitionError
from fkd_kaggle.practice.fault_injection import Faults
from fkd_kaggle.practice.kernels.host import KernelHost
from fkd_kaggle.practice.kernels.store import KernelVersion
from fkd_kaggle.practice.wire_format import read_json, refuse

T = TypeVar("T")


def blueprint(kernels: KernelHost, faults: Faults) -> flask.Blueprint:
    """Return the routes under ``/practice``.

    Parameters
    ----------
    kernels
        The kernels to list and cancel.
    faults
        The faults to list and change.
    """
    routes = flask.Blueprint("control", __name__)

    @routes.get("/practice/kernels")
    def list_kernels() -> flask.Response:
        return flask.jsonify([_describe(one) for one in kernels.versions.all()])

    @routes.post("/practice/kernels/cancel")
    def cancel_kernel() -> flask.Response:
        version = kernels.versions.session(_read_value("session", int))
        if version is None or version.is_finished:
            refuse(404, "No such kernel runs")
        kernels.cancel(version)
        return flask.jsonify(_describe(version))

    @routes.get("/practice/faults")
    def list_faults() -> flask.Response:
        return flask.jsonify([str(fault) for fault in faults.all()])

    @routes.post("/practice/faults")
    def add_fault() -> flask.Response:
        try:
            faults.add(_read_value("fault", str))
        except CompetitionError as error:
            refuse(400, str(error))
        return list_faults()

    @routes.delete("/practice/faults")
    def clear_faults() -> flask.Response:
        faults.clear()
        return list_faults()

    return routes


def _read_value(name: str, kind: type[T]) -> T:
    """Return a value of the posted JSON object."""
    body = read_json()
    value = body.get(name) if isinstance(body, dict) else None
    if not isinstance(value, kind):
        refuse(400, f'Post {{"{name}": …}} as JSON')
    return value


def _describe(version: KernelVersion) -> dict[str, Any]:
    return {
        "kernel": version.ref,
        "version": version.version,
        "session": version.session,
        "status": version.status,
    }
