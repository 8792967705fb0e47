"""Kaggle's wire format on the server's side: requests, responses, errors, pages and dates.

The official client posts ``request.to_dict()`` and reads ``Response.from_dict``. The server does
the reverse with the same classes of kagglesdk, so that the format is Kaggle's by construction.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, NoReturn, TypeVar

import flask

from fkd_kaggle.kaggle_api import answers

T = TypeVar("T")

_PAGE_SIZE: Final = 20

_MAX_PAGE_SIZE: Final = 200


class ErrorResponse(Exception):  # noqa: N818 - not an error of the server
    """Ends the request with an HTTP error status and a message in Kaggle's words.

    Parameters
    ----------
    status
        HTTP status.
    message
        Text that the client shows.
    headers
        Further HTTP headers.
    """

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers or {}

    def response(self) -> flask.Response:
        """Return the response as Kaggle sends it: JSON with ``code`` and ``message``."""
        answer = flask.jsonify({"code": self.status, "message": self.message})
        answer.status_code = self.status
        answer.headers.extend(self.headers)
        return answer


def refuse(status: int, message: str) -> NoReturn:
    """End the request with Kaggle's error JSON.

    Raises
    ------
    ErrorResponse
        Always.
    """
    raise ErrorResponse(status, message)


def refuse_field(message: str) -> NoReturn:
    """End the request because a field is invalid: HTTP status 400 with Kaggle's JSON for it.

    The client finds no message in this JSON and shows the HTTP status only.
    """
    answer = {"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}}
    flask.abort(flask.make_response(flask.jsonify(answer), 400))


def read_request(request_type: type[T]) -> T:
    """Return the posted request.

    Parameters
    ----------
    request_type
        One of kagglesdk's request classes.

    Raises
    ------
    ErrorResponse
        The body is not a request of this type.
    """
    body = read_json()
    if not isinstance(body, dict):
        refuse(400, "Bad request: the body is not a JSON object")
    try:
        message: T = answers.read_message(request_type, body)
    except Exception:  # kagglesdk's field parsers raise exceptions of any type
        raise ErrorResponse(400, f"Bad request: not a {request_type.__name__}") from None
    return message


def read_json() -> Any:
    """Return the posted JSON value; None if the body is no valid JSON."""
    try:
        body = flask.request.get_json(silent=True)
        json.dumps(body, ensure_ascii=False).encode()  # fails for halves of surrogate pairs
    except (RecursionError, UnicodeEncodeError):
        return None
    return body


def write_response(message: Any) -> flask.Response:
    """Return one of kagglesdk's responses as JSON."""
    return flask.jsonify(message.to_dict())


def redirect_to_storage(path: str) -> flask.Response:
    """Redirect the client to a file of the storage, as Kaggle does.

    Parameters
    ----------
    path
        Path of the URL, without a leading slash.
    """
    answer = flask.Response(status=302)
    answer.headers["Location"] = f"{flask.request.host_url}{path}"
    return answer


def paginate(rows: Sequence[T], request: Any) -> tuple[Sequence[T], str]:
    """Return one page of rows and the token of the next page.

    Parameters
    ----------
    rows
        All rows.
    request
        A request of kagglesdk with ``page_size`` and ``page_token``, perhaps with ``page``.

    Returns
    -------
    rows
        The page.
    token
        Token of the next page; empty after the last page.

    Raises
    ------
    ErrorResponse
        The request's token is malformed.
    """
    size = min(request.page_size or _PAGE_SIZE, _MAX_PAGE_SIZE)
    number = getattr(request, "page", None) or 1
    if request.page_token:
        if not request.page_token.isdecimal() or len(request.page_token) > 18:
            refuse(400, "Bad page token")
        start = int(request.page_token)
    else:
        start = max(0, number - 1) * max(1, size)
    end = start + max(1, size)
    return rows[start:end], str(end) if end < len(rows) else ""


def to_datetime(seconds: float) -> datetime:
    """Return a UNIX time as kagglesdk expects dates: in UTC, without a time zone."""
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)
