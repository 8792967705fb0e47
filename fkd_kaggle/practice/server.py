"""The practice Kaggle's server: Kaggle's wire API on this machine, for the official client.

Binds loopback only, takes any credentials and keeps none, serves the competition's files, takes
and truly scores submissions, runs kernels, and misbehaves when told to.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TextIO

import flask
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from fkd_kaggle.errors import CompetitionError
from fkd_kaggle.practice import competition_api, dataset, fault_injection, page, storage
from fkd_kaggle.practice.competition import PracticeCompetition
from fkd_kaggle.practice.dataset import DRAWN, SyntheticSize
from fkd_kaggle.practice.fault_injection import Fault, Faults
from fkd_kaggle.practice.kernels import api
from fkd_kaggle.practice.kernels.host import AT_ONCE, KernelHost
from fkd_kaggle.practice.storage import Store, lock_state_folder
from fkd_kaggle.practice.wire_format import KaggleRefusal, refuse

PORT: Final = 7777
"""Where kagglesdk's environment TEST looks for Kaggle."""

USER: Final = "practice"
"""Who one is with a token instead of a user name and key."""

DAILY_LIMIT: Final = 5


class PracticeKaggle:
    """A practice Kaggle in a thread of its own, as long as the ``with`` block lasts.

    Parameters
    ----------
    data
        A folder or zip in the competition's format; None draws faces.
    solution
        The answers (RowId, Location); without them, and with a test set in the data, submissions
        are checked and not scored.
    hold_out
        Share of the training faces to make the test set of.
    state_dir
        Where submissions, scores and prepared data are kept.
    port
        0 for any free one.
    faults
        How to misbehave from the start; see faults.py. ``kaggle.faults`` changes it later.
    daily_limit
        Submissions a user has from one midnight UTC to the next.
    kernels_at_once
        How many kernels run at the same time; others wait in the queue.
    rendered
        How many faces to draw where ``data`` is None.
    seed
        Which faces are held out, or drawn.
    now
        The clock.

    Raises
    ------
    CompetitionError
        The port is taken, the arguments contradict each other, or there is no such data.
    DataError
        The data or the answers are not in the competition's format.
    """

    def __init__(
        self,
        data: Path | None = None,
        solution: Path | None = None,
        hold_out: float | None = None,
        *,
        state_dir: Path,
        port: int = PORT,
        faults: Iterable[Fault | str] = (),
        daily_limit: int = DAILY_LIMIT,
        kernels_at_once: int = AT_ONCE,
        rendered: SyntheticSize = DRAWN,
        seed: int = 0,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.faults = Faults(faults)
        state_dir = state_dir.resolve()  # Flask looks for relative paths beside its own code
        # The port first: making data ready takes a while, and all for nothing if it is taken.
        self._socket = _bind(port)
        self.port: int = self._socket.getsockname()[1]
        self._claim: TextIO | None = None
        try:
            self._claim = lock_state_folder(state_dir)
            self.dataset = dataset.prepare_dataset(
                state_dir, data, solution, hold_out, rendered, seed
            )
            self.store = Store(self.dataset.folder, now)
            self.kernels = KernelHost(self.store, self.dataset, self.faults, kernels_at_once)
            host = PracticeCompetition(self.dataset, self.store, self.kernels, daily_limit)
            app = make_app(host, self.faults)
            self._server = _serve_on(self._socket, app)
        except BaseException:
            self._socket.close()
            if self._claim is not None:
                self._claim.close()
            raise
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Its address, as the official client writes it."""
        return f"http://localhost:{self.port}"

    @property
    def environment(self) -> Mapping[str, str]:
        """What to set so that this package talks to it."""
        return {"KAGGLE_API_ENVIRONMENT": "TEST", "FKD_PRACTICE_URL": self.url}

    def start(self) -> PracticeKaggle:
        """Begin to answer."""
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05},
            name="practice-kaggle", daemon=True,
        )  # fmt: skip
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop answering and free the port."""
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._thread = None
        self.kernels.close()
        self._server.server_close()
        self._socket.close()
        if self._claim is not None:
            self._claim.close()

    def __enter__(self) -> PracticeKaggle:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def serve(
    data: Path | None = None,
    solution: Path | None = None,
    hold_out: float | None = None,
    *,
    on_ready: Callable[[PracticeKaggle], None] = lambda kaggle: None,
    stop: threading.Event | None = None,
    **options: Any,
) -> None:
    """Run a practice Kaggle until Ctrl-C or SIGTERM (or ``stop``); options as PracticeKaggle's."""
    stop = stop or threading.Event()
    with PracticeKaggle(data, solution, hold_out, **options) as kaggle, _terminated(stop):
        on_ready(kaggle)
        try:
            while not stop.wait(0.5):
                pass
        except KeyboardInterrupt:
            return


def make_app(host: PracticeCompetition, faults: Faults) -> flask.Flask:
    """Put the practice Kaggle together as a Flask application."""
    app = flask.Flask("fkd_kaggle.practice", template_folder=str(Path(__file__).parent))
    app.before_request(_refuse_strangers)
    fault_injection.install_faults(app, faults)
    app.before_request(_authenticate)
    app.register_error_handler(KaggleRefusal, KaggleRefusal.response)
    app.register_error_handler(ConnectionError, lambda _: flask.Response())  # nobody hears it
    app.register_error_handler(404, lambda _: KaggleRefusal(404, "Not found").response())
    app.register_blueprint(competition_api.blueprint(host))
    app.register_blueprint(storage.blueprint(host.store))
    app.register_blueprint(page.blueprint(host, faults))
    app.register_blueprint(api.blueprint(host.kernels))
    return app


def _refuse_strangers() -> None:
    # A web page elsewhere may point a name of its own at 127.0.0.1 (DNS rebinding).
    name = flask.request.host.rsplit(":", 1)[0].strip("[]")
    if name not in ("localhost", "127.0.0.1", "::1"):
        refuse(403, "a practice Kaggle only talks to its own machine")


def _authenticate() -> None:
    """Find out who asks: a user name with a key, or any token. Neither is looked at or kept."""
    if not flask.request.path.startswith("/api/v1/"):
        return
    credentials = flask.request.authorization
    if flask.request.path.endswith("/IntrospectToken"):
        flask.g.user = USER  # the client asks this to learn whose its token is
    elif credentials is not None and credentials.type == "bearer" and credentials.token:
        flask.g.user = USER
    elif credentials is not None and credentials.username and credentials.password:
        flask.g.user = credentials.username
    else:
        refuse(401, "Unauthenticated")


class _Handler(WSGIRequestHandler):
    """Says nothing: requests carry credentials, and the terminal belongs to the CLI."""

    def log(self, type: str, message: str, *args: Any) -> None:
        return

    def handle(self) -> None:
        try:
            super().handle()
        except (ConnectionError, OSError):
            return  # whoever asked has gone


def _bind(port: int) -> socket.socket:
    """Return a socket bound to ``port`` of this machine, reachable from nowhere else."""
    taken = CompetitionError(
        f"port {port} is taken, perhaps by another practice Kaggle: stop that, or choose another "
        "with --port"
    )
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
        listener.listen(128)
    except (OSError, OverflowError) as error:
        listener.close()
        if isinstance(error, PermissionError | OverflowError):
            raise CompetitionError(
                f"port {port} may not be used: choose another with --port"
            ) from error
        raise taken from error
    # The client asks localhost, which tries ::1 first: whoever listens there would get its answers.
    if port and _answers("::1", port):
        listener.close()
        raise taken
    return listener


def _answers(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), timeout=0.5):
            return True
    except OSError:
        return False


def _serve_on(listener: socket.socket, app: flask.Flask) -> BaseWSGIServer:
    return make_server(
        "127.0.0.1", 0, app, threaded=True, request_handler=_Handler, fd=listener.fileno()
    )


class _terminated:  # noqa: N801 - used as a context manager, like a function
    """Turns SIGTERM into ``stop``, where signals can be handled (the main thread)."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._before: Any = None

    def __enter__(self) -> None:
        import signal

        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, lambda *_: self._stop.set())

    def __exit__(self, *_: object) -> None:
        import signal

        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)
