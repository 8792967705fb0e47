"""The demo: a page on loopback that shows the points of a run on webcam frames and photos.

No data leaves the machine: the server listens on the loopback interface only, answers requests of
its own page only, and the page loads nothing from elsewhere.
"""

from __future__ import annotations

import errno
import json
import math
import secrets
import socket
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any, Final

import flask
import numpy as np
from werkzeug.exceptions import HTTPException
from werkzeug.serving import WSGIRequestHandler, make_server

from fkd_kaggle.errors import DataError, FkdError
from fkd_kaggle.photos.found_faces import PhotoFace
from fkd_kaggle.photos.images import read_photo, read_sizes
from fkd_kaggle.photos.prediction import PhotoModel
from fkd_kaggle.photos.tracking import FaceTracker
from fkd_kaggle.report import loopback

PORT: Final = 8765

MAX_UPLOAD: Final = 25 * 2**20
"""Bytes of an uploaded picture."""

MAX_PIXELS: Final = 50_000_000
"""Pixels of an uploaded picture."""

MAX_SESSIONS: Final = 32
"""Webcams that are followed at the same time; the one that was silent longest is forgotten."""

MAX_WAITING: Final = 24
"""Requests that wait for the networks; further ones are told to come back later."""

_BACKLOG: Final = 128
"""Connections that wait to be accepted."""

_POLICY: Final = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; "
    "img-src 'self' blob: data:; media-src 'self' blob:; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)


class DemoServer:
    """The demo's server.

    Parameters
    ----------
    model
        Predicts the points.
    title
        Name of the run, for the page.
    port
        0 for any free port.

    Raises
    ------
    FkdError
        The port is taken or cannot be used.
    """

    def __init__(self, model: PhotoModel, title: str, *, port: int = PORT) -> None:
        self._answers = _Answers(model)
        app = _make_app(self._answers, title, lambda: self.port)
        with _listen(port) as listener:
            self.port: int = listener.getsockname()[1]
            self._server = make_server(
                loopback.ADDRESS,
                self.port,
                app,
                threaded=True,
                request_handler=_QuietHandler,
                fd=listener.fileno(),  # duplicated
            )

    @property
    def url(self) -> str:
        """Return the address of the page."""
        return f"http://localhost:{self.port}/"

    def serve(self) -> None:
        """Serve until ``stop`` or Ctrl-C, which raises no exception."""
        self._server.serve_forever()

    def stop(self) -> None:
        """Stop to serve and free the port."""
        self._server.shutdown()
        self._server.server_close()

    def close(self) -> None:
        """Free the port after ``serve`` has ended."""
        self._server.server_close()


def _listen(port: int) -> socket.socket:
    """Return a socket that listens on a port of the loopback interface; 0 for any free port.

    Werkzeug prints lines of its own and exits if it cannot bind a socket.

    Raises
    ------
    FkdError
        The port is taken or cannot be used.
    """
    try:
        return socket.create_server((loopback.ADDRESS, port), backlog=_BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            problem = f"port {port} is taken: stop the other program or choose another --port"
        else:
            reason = str(error.strerror or error).partition(" (while")[0]
            problem = f"port {port} cannot be used: {reason}: choose another --port"
        raise FkdError(problem) from error


class _QuietHandler(WSGIRequestHandler):
    """Does not log requests."""

    def log(self, type: str, message: str, *args: Any) -> None:
        """Print nothing."""


class _BusyError(Exception):
    """Too many requests wait."""


class _Answers:
    """Predicts for one request at a time; remembers the faces of each webcam."""

    def __init__(self, model: PhotoModel) -> None:
        self.model = model
        self._lock = threading.Lock()
        self._waiting = threading.BoundedSemaphore(MAX_WAITING)
        self._trackers: OrderedDict[str, FaceTracker] = OrderedDict()

    def photo(self, photo: np.ndarray) -> list[PhotoFace]:
        """Return the faces of a photo."""
        return self._one_at_a_time(lambda: self.model.predict(photo))

    def frame(self, photo: np.ndarray, session: str) -> list[PhotoFace]:
        """Return the faces of a webcam's next frame."""

        def track() -> list[PhotoFace]:
            tracker = self._trackers.pop(session, None) or FaceTracker(self.model, live=True)
            self._trackers[session] = tracker
            while len(self._trackers) > MAX_SESSIONS:
                self._trackers.popitem(last=False)
            return tracker.track(photo, time.monotonic())

        return self._one_at_a_time(track)

    def _one_at_a_time(self, answer: Callable[[], list[PhotoFace]]) -> list[PhotoFace]:
        """Return an answer when it is this request's turn."""
        if not self._waiting.acquire(blocking=False):
            raise _BusyError
        try:
            with self._lock:
                return answer()
        finally:
            self._waiting.release()


def _make_app(answers: _Answers, title: str, port: Callable[[], int]) -> flask.Flask:
    """Return the application."""
    app = flask.Flask("fkd_kaggle_demo", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_UPLOAD
    token = secrets.token_urlsafe(24)
    template = resources.files("fkd_kaggle.photos") / "templates" / "demo.html"
    page = template.read_text(encoding="utf-8")

    @app.before_request
    def refuse_other_sites() -> None:
        _check_origin(flask.request, port())

    @app.get("/")
    def show() -> flask.Response:
        nonce = secrets.token_urlsafe(16)
        settings = {
            "token": token,
            "title": title,
            "names": list(answers.model.point_names),
            "max_bytes": MAX_UPLOAD,
            "calibrated": answers.model.calibration is not None,
        }
        text = page.replace("@NONCE@", nonce).replace("@SETTINGS@", _in_script(settings))
        response = flask.Response(text, mimetype="text/html")
        response.headers["Content-Security-Policy"] = _POLICY.format(nonce=nonce)
        return response

    @app.post("/faces")
    def faces() -> flask.Response:
        given = flask.request.headers.get("X-Demo-Token", "")
        if not secrets.compare_digest(given.encode(), token.encode()):
            return _message(403, "this page belongs to an earlier demo: reload it")
        photo = _decode(flask.request.get_data(cache=False))
        session = flask.request.args.get("session", "")[:64]
        began = time.perf_counter()
        found = answers.frame(photo, session) if session else answers.photo(photo)
        return flask.jsonify(
            width=photo.shape[1],
            height=photo.shape[0],
            milliseconds=round(1000 * (time.perf_counter() - began), 1),
            faces=[_face(face) for face in found],
        )

    @app.after_request
    def protect(response: flask.Response) -> flask.Response:
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["Cache-Control"] = "no-store"
        response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
        return response

    _register_errors(app)
    return app


def _register_errors(app: flask.Flask) -> None:
    """Answer errors with one line that the page shows."""

    @app.errorhandler(HTTPException)
    def refused(error: HTTPException) -> flask.Response:
        if error.code == 413:
            limit = MAX_UPLOAD // 2**20
            return _message(413, f"the picture has more than {limit} MB: make it smaller")
        return _message(error.code or 500, error.description or error.name)

    @app.errorhandler(_BusyError)
    def busy(error: _BusyError) -> flask.Response:
        response = _message(503, "too many pictures at the same time: wait a moment")
        response.headers["Retry-After"] = "1"
        return response

    @app.errorhandler(FkdError)
    def failed(error: FkdError) -> flask.Response:
        return _message(422, str(error))

    @app.errorhandler(Exception)
    def crashed(error: Exception) -> flask.Response:
        return _message(500, f"the prediction failed ({type(error).__name__})")


def _check_origin(request: flask.Request, port: int) -> None:
    """Refuse requests that another site's page sends, also through another name of this machine."""
    origin = request.headers.get("Origin")
    site = request.headers.get("Sec-Fetch-Site", "none")
    if not loopback.is_this_machine(request.host, port):
        flask.abort(403, "the demo answers on localhost only")
    if origin is not None and origin != f"http://{request.host}":
        flask.abort(403, "the demo answers its own page only")
    if request.method != "GET" and site not in ("same-origin", "none"):
        flask.abort(403, "the demo answers its own page only")


def _decode(data: bytes) -> np.ndarray:
    """Return (H, W, 3) uint8 RGB of an uploaded picture; its size is checked before decoding.

    Raises
    ------
    DataError
        The bytes are not a picture, or the picture is too large.
    """
    if not data:
        raise DataError("the picture is empty")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "picture")
        path.write_bytes(data)
        width, height = next(iter(read_sizes(path)), (0, 0))
        if width * height > MAX_PIXELS:
            raise DataError(
                f"the picture has {width * height / 1e6:.0f} megapixels, more than "
                f"{MAX_PIXELS // 10**6}: make it smaller"
            )
        try:
            return read_photo(path)
        except DataError as error:
            reason = str(error).removeprefix(f"{path}: ")
            raise DataError(f"the picture cannot be used: {reason}") from None


def _face(face: PhotoFace) -> dict[str, Any]:
    """Return the JSON values of a face."""
    error = face.expected_error
    return {
        "number": face.number,
        "box": [round(value, 1) for value in face.box],
        "points": [[round(float(x), 2), round(float(y), 2)] for x, y in face.points],
        "expected_error": None if math.isnan(error) else round(error, 2),
    }


def _message(code: int, text: str) -> flask.Response:
    """Return an error as JSON."""
    response = flask.jsonify(error=text)
    response.status_code = code
    return response


def _in_script(value: Any) -> str:
    """Return JSON that cannot end the script element that contains it."""
    return json.dumps(value).replace("<", "\\u003c").replace("\u2028", "\\u2028")
