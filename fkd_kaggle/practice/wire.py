"""Kaggle's wire format on the server's side: kagglesdk's own types in, kagglesdk's own types out.

The official client posts ``request.to_dict()`` and reads ``Response.from_dict``; we do the reverse
with the same classes, so the format is theirs and not our guess.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NoReturn, TypeVar

import flask

T = TypeVar("T")


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


def refuse(status: int, message: str) -> NoReturn:
    """End the request with Kaggle's error JSON."""
    raise KaggleRefusal(status, message)


def read(request_type: type[T]) -> T:
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


def write(message: Any) -> flask.Response:
    """Return one of kagglesdk's responses as JSON."""
    return flask.jsonify(message.to_dict())


def moment(seconds: float) -> datetime:
    """Return a UNIX time the way kagglesdk writes dates: naive, meaning UTC, whole milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)
