"""Kaggle's wire format on the server's side: kagglesdk's own types in, kagglesdk's own types out.

The official client posts ``request.to_dict()`` and reads ``Response.from_dict``; we do the reverse
with the same classes, so the format is theirs and not our guess.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, NoReturn, TypeVar

import flask

T = TypeVar("T")

_PAGE: Final = 20

_LARGEST_PAGE: Final = 200


class KaggleRefusal(Exception):  # noqa: N818 - it is an answer, not a fault of ours
    """An answer with an HTTP error status, as Kaggle words it."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers or {}

    def response(self) -> flask.Response:
        """Return it as Kaggle sends it: JSON with a code of its own."""
        answer = flask.jsonify({"code": self.status, "message": self.message})
        answer.status_code = self.status
        answer.headers.extend(self.headers)
        return answer


def refuse_argument(message: str) -> NoReturn:
    """End the request as Kaggle does where it reads a request's values and takes them not.

    The client finds no message in this form and shows the HTTP status alone.
    """
    answer = {"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}}
    flask.abort(flask.make_response(flask.jsonify(answer), 400))


def refuse(status: int, message: str) -> NoReturn:
    """End the request with Kaggle's error JSON."""
    raise KaggleRefusal(status, message)


def read_request(request_type: type[T]) -> T:
    """Return the posted request as ``request_type``, one of kagglesdk's."""
    body = flask.request.get_json(silent=True)
    if not isinstance(body, dict):
        refuse(400, "Bad request: the body is not a JSON object")
    kind: Any = request_type
    try:
        message: T = kind.from_dict(body)
    except Exception:  # kagglesdk raises whatever its field parsers happen to
        raise KaggleRefusal(400, f"Bad request: not a {request_type.__name__}") from None
    return message


def write_response(message: Any) -> flask.Response:
    """Return one of kagglesdk's responses as JSON."""
    return flask.jsonify(message.to_dict())


def redirect_to_storage(path: str) -> flask.Response:
    """Send the client to the storage, as Kaggle does."""
    answer = flask.Response(status=302)
    answer.headers["Location"] = f"{flask.request.host_url}{path}"
    return answer


def paginate(rows: Sequence[T], request: Any) -> tuple[Sequence[T], str]:
    """Return the asked page of rows and the token of the next one, empty on the last."""
    size = min(request.page_size or _PAGE, _LARGEST_PAGE)
    number = getattr(request, "page", None) or 1
    if request.page_token:
        if not request.page_token.isdecimal():
            refuse(400, "Bad page token")
        start = int(request.page_token)
    else:
        start = max(0, number - 1) * max(1, size)
    end = start + max(1, size)
    return rows[start:end], str(end) if end < len(rows) else ""


def to_datetime(seconds: float) -> datetime:
    """Return a UNIX time the way kagglesdk writes dates: naive, meaning UTC, whole milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)
