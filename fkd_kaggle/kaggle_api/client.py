"""The official client, authenticated and connected to Kaggle or to a practice Kaggle.

The published client is used unchanged. Its import authenticates, prints, and exits the process if
there are no credentials. Therefore only :func:`connect` imports the client.
"""

from __future__ import annotations

import io
import itertools
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from fkd_kaggle.errors import CompetitionError
from fkd_kaggle.kaggle_api import credentials, errors, responses
from fkd_kaggle.kaggle_api.endpoint import ENVIRONMENT, point_client_to, practice_url
from fkd_kaggle.kaggle_api.errors import Action
from fkd_kaggle.kaggle_api.output_capture import captured_output
from fkd_kaggle.kaggle_api.retry import RetryPolicy

T = TypeVar("T")

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
            wait = self._wait_after(attempt, failure) if retry(failure) else None
            if wait is None:
                raise self.explain(failure, replace(action, attempts=attempt)) from failure
            self.retry_policy.on_wait(action.what, wait)
            self.retry_policy.sleep(wait)
            recovered = recover()
            if recovered is not None:
                return recovered
        raise AssertionError("unreachable")

    def explain(self, error: Exception, action: Action) -> CompetitionError:
        """Return the error for users, with a one-line message, for an exception of the client."""
        source = credentials.credentials_source(self.api)
        action = replace(action, practice_url=self.practice_url, credentials=source)
        return errors.explain_error(error, action)

    @contextmanager
    def quietly(self) -> Iterator[io.StringIO]:
        """Set the client's address and capture its output; yield the captured text."""
        with _client_lock, captured_output() as captured:
            self.point()
            yield captured

    def point(self) -> None:
        """Set the client's address, a global setting of the process, to the practice Kaggle."""
        if self.practice_url is not None:
            point_client_to(self.practice_url)

    def _wait_after(self, attempt: int, error: Exception) -> float | None:
        """Return the seconds to wait after a failed attempt; None to give up."""
        if self.practice_url is not None and responses.is_connection_refused(error):
            return None  # A stopped practice Kaggle does not start by itself.
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
    with _client_lock, captured_output():
        api, authenticated = _import_client(url)
    client = Client(api, url, retry_policy)
    if not authenticated:
        client.request(
            Action("authenticating", slug=""),
            lambda api: credentials.authenticate(api, practice=url is not None),
        )
    credentials.check_credentials(api)
    return client


def _import_client(practice_url: str | None) -> tuple[Any, bool]:
    """Import the client; return an API object and whether the import has authenticated it."""
    first = "kaggle" not in sys.modules
    variables: dict[str, str] = {}
    if practice_url is not None:
        point_client_to(practice_url)
        # The import authenticates. For a practice Kaggle, it must not contact kaggle.com.
        variables = {ENVIRONMENT: "LOCALHOST", **credentials.PRACTICE_CREDENTIALS}
    try:
        with credentials.environment_variables(variables):
            import kaggle
            from kaggle.api.kaggle_api_extended import KaggleApi
    except OSError as error:
        # The import creates the client's settings folder (github.com/Kaggle/kaggle-cli/issues/288).
        raise CompetitionError(
            f"the Kaggle client cannot make its settings folder ({error.strerror}): set "
            "KAGGLE_CONFIG_DIR to a folder that can be written"
        ) from error
    method = kaggle.api.get_config_value(KaggleApi.CONFIG_NAME_AUTH_METHOD)
    authenticated = first and practice_url is None and method is not None
    api = kaggle.api if authenticated else KaggleApi()
    # Also removes --verbose (VERBOSE=1), which prints the Authorization header.
    api.args = ["--local"] if practice_url is not None else []
    api.already_printed_version_warning = True
    return api, authenticated
