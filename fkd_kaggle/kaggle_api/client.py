"""The official client, authenticated and connected to Kaggle or to a practice Kaggle.

The published client is used unchanged. Its import authenticates, prints, and exits the process if
there are no credentials. Therefore only :func:`connect` imports the client.
"""

from __future__ import annotations

import io
import itertools
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

from fkd_kaggle.errors import CompetitionError, NoteWarning
from fkd_kaggle.kaggle_api import answers, credentials, errors, responses, transport
from fkd_kaggle.kaggle_api.endpoint import ENVIRONMENT, point_client_to, practice_url
from fkd_kaggle.kaggle_api.errors import Action
from fkd_kaggle.kaggle_api.output_capture import captured_output
from fkd_kaggle.kaggle_api.retry import RetryPolicy

T = TypeVar("T")

_STREAM_TIMEOUT: Final = 300.0
"""Seconds of silence after which a stream counts as broken; Kaggle's logs can be silent long."""

_LONGEST_STREAM: Final = 1800.0
"""Seconds after which a stream is ended; Kaggle ends it after a few minutes."""

# sys.stdout and the client's endpoints are global, so only one thread may use them at a time.
_client_lock = threading.RLock()


@dataclass(frozen=True)
class Client:
    """The official client with its address and its policy for repeated attempts."""

    api: Any
    """kaggle.api.kaggle_api_extended.KaggleApi"""
    practice_url: str | None
    """Address of the practice Kaggle; None for Kaggle itself."""
    retry_policy: RetryPolicy
    practice_user: str | None = None
    """Name of the user on the practice Kaggle; None for Kaggle itself."""
    source: str = field(default="as found by the Kaggle client", kw_only=True)
    """Where the credentials come from, for messages."""

    @property
    def user(self) -> str:
        """Return the name of the user whose credentials are used."""
        return str(self.api.get_config_value(self.api.CONFIG_NAME_USER) or "")

    def request(
        self,
        action: Action,
        call: Callable[[Any], T],
        *,
        retry: Callable[[Exception], bool] = responses.is_transient,
        recover: Callable[[], T | None] = lambda: None,
    ) -> T:
        """Return ``call(api)``; after a transient failure, wait and try again.

        Parameters
        ----------
        action
            The operation, for messages.
        call
            Function of the client's API object; makes the request.
        retry
            Returns whether to repeat the call after this exception.
        recover
            Called after each wait, because a call can succeed although its answer is lost. If
            ``recover`` returns a result other than None, ``call`` is not repeated.

        Returns
        -------
        T
            The result of ``call`` or of ``recover``.

        Raises
        ------
        CompetitionError
            Kaggle refuses, or all attempts have failed.
        """
        for attempt in itertools.count(1):
            try:
                with self.quietly():
                    return call(self.api)
            except responses.CLIENT_ERRORS as error:
                failure = error
            if not (retry(failure) and self.wait_after(action, attempt, failure)):
                raise self.explain(failure, replace(action, attempts=attempt)) from failure
            recovered = recover()
            if recovered is not None:
                return recovered
        raise AssertionError("unreachable")

    def stream(self, call: Callable[[Any], Iterable[T]]) -> Iterator[T]:
        """Yield the items of ``call(api)``, which sends requests while it is iterated.

        Does not capture output and does not repeat requests. Exceptions of the client are raised.
        """
        rules = transport.ConnectionRules(
            _STREAM_TIMEOUT, self.practice_user, _LONGEST_STREAM, has_pauses=True
        )
        with self._connected(rules):
            items = iter(call(self.api))
        while True:
            try:
                with self._connected(rules):
                    item = next(items)
            except StopIteration:
                return
            yield item

    def wait_after(self, action: Action, attempt: int, error: Exception) -> bool:
        """Wait after attempt 1, 2, … has failed.

        Returns
        -------
        bool
            Whether to try again. If False, the retry policy gives up; there was no wait.
        """
        wait = self._seconds_after(attempt, error)
        if wait is None:
            return False
        self.retry_policy.on_wait(action.what, wait)
        self.retry_policy.sleep(wait)
        return True

    def is_stopped_practice(self, error: Exception) -> bool:
        """Return whether the practice Kaggle has been stopped; it does not start by itself."""
        return self.practice_url is not None and responses.is_connection_refused(error)

    def explain(self, error: Exception, action: Action) -> CompetitionError:
        """Return the error for users, with a one-line message, for an exception of the client."""
        if isinstance(error, CompetitionError):
            return error
        action = replace(action, practice_url=self.practice_url, credentials=self.source)
        return errors.explain_error(error, action)

    @contextmanager
    def quietly(self) -> Iterator[io.StringIO]:
        """Set the rules for requests and capture the client's output; yield the captured text."""
        rules = transport.ConnectionRules(self.retry_policy.timeout, self.practice_user)
        with _client_lock, captured_output() as captured, self._connected(rules):
            yield captured

    @contextmanager
    def _connected(self, rules: transport.ConnectionRules) -> Iterator[None]:
        """Set the client's address, a global setting of the process, and rules for requests."""
        if self.practice_url is not None:
            point_client_to(self.practice_url)
        with transport.connection_rules(rules):
            yield

    def _seconds_after(self, attempt: int, error: Exception) -> float | None:
        """Return the seconds to wait after a failed attempt; None to give up."""
        if self.is_stopped_practice(error):
            return None
        if responses.is_timeout(error) and attempt >= self.retry_policy.silent_attempts:
            return None
        return self.retry_policy.wait_after(attempt, error)


def connect(retry_policy: RetryPolicy) -> Client:
    """Import the official client and authenticate with the credentials that the client finds.

    Parameters
    ----------
    retry_policy
        When and how often requests are repeated.

    Raises
    ------
    CompetitionError
        There are no credentials, Kaggle does not accept them, or the environment selects an
        unknown or remote practice Kaggle.
    """
    url = practice_url()
    if url is not None:
        return _connect_practice(url, retry_policy)
    transport.check_certificates()
    found = credentials.find_credentials()
    if found is None:
        raise errors.missing_credentials_error()
    client = Client(_import_client(None), None, retry_policy, source=found.source)
    client.request(
        Action("authenticating", slug=""), lambda api: credentials.authenticate(api, found)
    )
    return client


def _connect_practice(url: str, retry_policy: RetryPolicy) -> Client:
    """Return a client for a practice Kaggle, which gets no credentials; sends no request."""
    user, note = credentials.practice_user()
    if note:
        warnings.warn(note, NoteWarning, stacklevel=3)
    client = Client(
        _import_client(url), url, retry_policy, user, source=f"user name and key of {user}"
    )
    with client.quietly():
        credentials.use_practice_credentials(client.api, user)
    return client


def _import_client(practice_url: str | None) -> Any:
    """Import the client without a request; return an API object that is not authenticated."""
    variables = {} if practice_url is None else {ENVIRONMENT: "LOCALHOST"}
    try:
        with (
            _client_lock,
            captured_output(),
            credentials.environment_variables(variables),
            credentials.offline_import(),
        ):
            from kaggle.api.kaggle_api_extended import KaggleApi
    except OSError as error:
        # The import creates the client's settings folder (github.com/Kaggle/kaggle-cli/issues/288).
        raise CompetitionError(
            f"the Kaggle client cannot make its settings folder ({error.strerror}): set "
            "KAGGLE_CONFIG_DIR to a folder that can be written"
        ) from error
    answers.install()
    api = KaggleApi()
    # Also removes --verbose (VERBOSE=1), which prints the Authorization header.
    api.args = ["--local"] if practice_url is not None else []
    api.already_printed_version_warning = True
    return api
