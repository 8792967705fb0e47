"""The practice Kaggle's server: Kaggle's API on this machine, for the official client.

Serves the competition's files, scores submissions, runs kernels and simulates failures. Binds the
loopback interface only, accepts any credentials and stores none.
"""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TextIO

import flask
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from fkd_kaggle.errors import CompetitionError
from fkd_kaggle.practice.app import make_app
from fkd_kaggle.practice.competition import PracticeCompetition
from fkd_kaggle.practice.dataset import PracticeData, prepare_dataset
from fkd_kaggle.practice.fault_injection import CLOSE_DOWNLOAD, Fault, Faults
from fkd_kaggle.practice.kernels.host import KERNELS_AT_ONCE, KernelHost
from fkd_kaggle.practice.storage import Store, lock_state_folder
from fkd_kaggle.practice.uploads import Uploads

PORT: Final = 7777
"""Port of kagglesdk's environment TEST."""

DAILY_LIMIT: Final = 5
"""Submissions of a user per day."""

SYNTHETIC_FACES: Final = PracticeData()
"""The default data."""


class PortUnavailableError(CompetitionError):
    """The port of a practice Kaggle is taken or may not be used; another one may be free."""


class PracticeKaggle:
    """A practice Kaggle in a thread, running while the ``with`` block is entered.

    Parameters
    ----------
    source
        The data to serve.
    state_dir
        Folder of submissions, scores and prepared data.
    port
        0 for any free port.
    faults
        Faults to start with, as ``fault_injection`` describes them; ``PracticeKaggle.faults``
        changes them later.
    daily_limit
        Submissions of a user from one midnight UTC to the next.
    kernels_at_once
        Number of kernels that run at the same time; others wait in the queue.
    now
        Returns the UNIX time.

    Raises
    ------
    PortUnavailableError
        The port is taken or may not be used. Nothing was prepared.
    CompetitionError
        The state folder cannot be used, options contradict each other, the data does not exist, or
        the disk is full.
    DataError
        The data or the solution is not in the competition's format.
    """

    def __init__(
        self,
        source: PracticeData = SYNTHETIC_FACES,
        *,
        state_dir: Path,
        port: int = PORT,
        faults: Iterable[Fault | str] = (),
        daily_limit: int = DAILY_LIMIT,
        kernels_at_once: int = KERNELS_AT_ONCE,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.faults = Faults(faults)
        state_dir = state_dir.resolve()  # Flask resolves relative paths against its own folder
        # Preparing data takes a while, so a taken port is found first.
        self._socket = _bind(port)
        self.port: int = self._socket.getsockname()[1]
        self._lock: TextIO | None = None
        try:
            self._lock = lock_state_folder(state_dir)
            self.dataset = prepare_dataset(state_dir, source)
            self.store = Store(self.dataset.folder, now)
            self.kernels = KernelHost(self.store, self.dataset, self.faults, kernels_at_once)
            uploads = Uploads(self.dataset.folder / "uploads")
            competition = PracticeCompetition(self.dataset, self.store, self.kernels, daily_limit)
            self._server = _make_server(self._socket, make_app(competition, uploads, self.faults))
        except BaseException:
            self._socket.close()
            if self._lock is not None:
                self._lock.close()
            raise
        self._thread: threading.Thread | None = None

    @property
    def address(self) -> str:
        """IP address of the interface that the server listens on."""
        return str(self._socket.getsockname()[0])

    @property
    def url(self) -> str:
        """URL of the server, as the official client writes it."""
        return f"http://localhost:{self.port}"

    @property
    def environment(self) -> Mapping[str, str]:
        """Environment variables that make this package use the practice Kaggle."""
        return {"KAGGLE_API_ENVIRONMENT": "TEST", "FKD_PRACTICE_URL": self.url}

    def start(self) -> PracticeKaggle:
        """Start to serve, and return self."""
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": 0.05},
            name="practice-kaggle",
            daemon=True,
        )
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop serving, stop the kernels and free the port."""
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._thread = None
        self.kernels.close()
        self._server.server_close()
        self._socket.close()
        if self._lock is not None:
            self._lock.close()

    def __enter__(self) -> PracticeKaggle:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def serve(
    source: PracticeData = SYNTHETIC_FACES,
    *,
    on_ready: Callable[[PracticeKaggle], None] = lambda kaggle: None,
    stop: threading.Event | None = None,
    **options: Any,
) -> None:
    """Run a practice Kaggle until Ctrl-C or SIGTERM.

    Parameters
    ----------
    source
        The data to serve.
    on_ready
        Called when it serves.
    stop
        Ends the function when set.
    options
        Further arguments of ``PracticeKaggle``.

    Raises
    ------
    CompetitionError, DataError
        As ``PracticeKaggle``.
    """
    stop = stop or threading.Event()
    with PracticeKaggle(source, **options) as kaggle, _set_on_sigterm(stop):
        on_ready(kaggle)
        try:
            while not stop.wait(0.5):
                pass
        except KeyboardInterrupt:
            return


class _RequestHandler(WSGIRequestHandler):
    """Logs nothing, because requests contain credentials and the terminal belongs to the CLI."""

    def log(self, type: str, message: str, *args: Any) -> None:
        return

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            return  # the client closed the connection

    def connection_dropped(
        self, error: BaseException, environ: dict[str, Any] | None = None
    ) -> None:
        """Close the file of a download that the client has ended, which Werkzeug does not."""
        if environ is not None and CLOSE_DOWNLOAD in environ:
            environ[CLOSE_DOWNLOAD]()


def _bind(port: int) -> socket.socket:
    """Return a socket that listens on a port of the loopback interface.

    Raises
    ------
    PortUnavailableError
        The port is taken or may not be used.
    """
    taken = PortUnavailableError(
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
            raise PortUnavailableError(
                f"port {port} may not be used: choose another with --port"
            ) from error
        raise taken from error
    # The client connects to localhost and tries ::1 first, where another program may listen.
    if port and _accepts_connections("::1", port):
        listener.close()
        raise taken
    return listener


def _accepts_connections(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), timeout=0.5):
            return True
    except OSError:
        return False


def _make_server(listener: socket.socket, app: flask.Flask) -> BaseWSGIServer:
    return make_server(
        "127.0.0.1", 0, app, threaded=True, request_handler=_RequestHandler, fd=listener.fileno()
    )


@contextmanager
def _set_on_sigterm(stop: threading.Event) -> Iterator[None]:
    """Set ``stop`` on SIGTERM; without effect outside the main thread, which handles signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
