"""Opening the official client: where it talks to, whose credentials it uses, and its silence.

The client is used as it is published. It authenticates when it is imported, prints and exits when
it has no credentials, and knows no practice Kaggle, so it is only imported here, late.
"""

from __future__ import annotations

import io
import itertools
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from fkd_kaggle.errors import CompetitionError
from fkd_kaggle.kaggle_api import errors
from fkd_kaggle.kaggle_api.errors import Action

ENVIRONMENT: Final = "KAGGLE_API_ENVIRONMENT"

PRACTICE_ENDPOINTS: Final = {"TEST": "http://localhost:7777", "LOCALHOST": "http://localhost"}
"""Values of KAGGLE_API_ENVIRONMENT that mean this machine, and where they mean."""

PRACTICE_URL: Final = "FKD_PRACTICE_URL"
"""Our own variable: another address of the practice Kaggle, such as http://localhost:8123."""

PRACTICE_USER: Final = "practice"
"""User name and key on a practice Kaggle for people who have no credentials."""

_PRACTICE_CREDENTIALS: Final = {"KAGGLE_USERNAME": PRACTICE_USER, "KAGGLE_KEY": PRACTICE_USER}

T = TypeVar("T")

# sys.stdout and the client's table of endpoints are one per process: one thread talks at a time.
_talking = threading.RLock()


@dataclass(frozen=True)
class RetryPolicy:
    """How often to ask again, and how long to wait in between."""

    attempts: int = 6
    first_wait: float = 1.0
    """Seconds after the first attempt; doubled after each further one."""
    longest_wait: float = 30.0
    longest_retry_after: float = 300.0
    """When Kaggle asks for a longer break than this, give up at once and say so."""
    sleep: Callable[[float], None] = time.sleep
    on_wait: Callable[[str, float], None] = lambda reason, seconds: None
    """Told why and for how many seconds we wait."""

    def after(self, attempt: int, error: Exception) -> float | None:
        """Return the seconds to wait after ``attempt`` (1, 2, …) failed, None to give up."""
        if attempt >= self.attempts:
            return None
        asked = errors.retry_after(error)
        if asked is not None:
            return asked if asked <= self.longest_retry_after else None
        wait = min(self.longest_wait, self.first_wait * 2.0 ** (attempt - 1))
        # Spread, so that several processes that were refused together do not come back together.
        return wait * random.uniform(0.75, 1.25)


@dataclass(frozen=True)
class Client:
    """The official client, authenticated, pointed at Kaggle or at a practice Kaggle."""

    api: Any
    """kaggle.api.kaggle_api_extended.KaggleApi"""
    practice_url: str | None
    """None for Kaggle itself."""
    patience: RetryPolicy

    @property
    def user(self) -> str:
        """The name of the user whose credentials are used."""
        return str(self.api.get_config_value(self.api.CONFIG_NAME_USER) or "")

    def ask(
        self,
        doing: Action,
        call: Callable[[Any], T],
        *,
        retry: Callable[[Exception], bool] = errors.is_transient,
        recover: Callable[[], T | None] = lambda: None,
    ) -> T:
        """Return ``call(api)``; wait and ask again after failures that ``retry`` approves of.

        ``recover`` is called after each wait, for calls that may have succeeded although the
        answer was lost: what it returns, unless None, is the answer.

        Raises
        ------
        CompetitionError
            Kaggle refuses, or we have waited enough.
        """
        for attempt in itertools.count(1):
            try:
                with self.quietly():
                    return call(self.api)
            except errors.REFUSALS as error:
                failure = error
            wait = self._wait_after(attempt, failure) if retry(failure) else None
            if wait is not None:
                self.patience.on_wait(doing.what, wait)
                self.patience.sleep(wait)
                found = recover()
                if found is not None:
                    return found
                continue
            raise self.explain(failure, replace(doing, attempts=attempt)) from failure
        raise AssertionError("unreachable")

    def explain(self, error: Exception, doing: Action) -> CompetitionError:
        """Put an error of the client in plain words."""
        doing = replace(doing, practice_url=self.practice_url, credentials=_source(self.api))
        return errors.explain_error(error, doing)

    @contextmanager
    def quietly(self) -> Iterator[io.StringIO]:
        """Keep what the client prints to ourselves (yielded), and point it where it should talk."""
        with _talking, _silence() as heard:
            self.point()
            yield heard

    def point(self) -> None:
        """Point the client where it should talk: its table of endpoints is one per process."""
        if self.practice_url is not None:
            _point_to(self.practice_url)

    def authenticate(self, api: Any) -> None:
        """Let the client find credentials, on a practice Kaggle those of its user if need be."""
        config = api.read_config_environment(api.read_config_file(quiet=True))
        known = config.get(api.CONFIG_NAME_USER) and config.get(api.CONFIG_NAME_KEY)
        # With a name and a key the client does not come to the credentials of `kaggle auth login`,
        # which it would renew or delete as a practice Kaggle tells it.
        practice = _PRACTICE_CREDENTIALS if self.practice_url is not None and not known else {}
        with _environment(practice), suppress(SystemExit):  # It exits when it finds none.
            api.authenticate()

    def _wait_after(self, attempt: int, error: Exception) -> float | None:
        if self.practice_url is not None and errors.is_connection_refused(error):
            return None  # A practice Kaggle that is not running does not come by waiting.
        return self.patience.after(attempt, error)


def connect(patience: RetryPolicy) -> Client:
    """Import the official client and authenticate with whatever credentials it finds.

    Raises
    ------
    CompetitionError
        There are no credentials, or Kaggle does not accept them.
    """
    url = practice_url()
    with _talking, _silence():
        api, authenticated = _import(url)
    client = Client(api, url, patience)
    if not authenticated:
        client.ask(Action("authenticating", slug=""), client.authenticate)
    _check_credentials(api)
    return client


def practice_url() -> str | None:
    """Return where the practice Kaggle is that we are told to use; None for Kaggle itself.

    Raises
    ------
    CompetitionError
        The environment names something else, or a machine other than this one.
    """
    environment = os.environ.get(ENVIRONMENT) or "PROD"
    if environment == "PROD":
        return None
    if environment not in PRACTICE_ENDPOINTS:
        raise CompetitionError(
            f"{ENVIRONMENT}={environment} is not known here: use TEST for a practice Kaggle, or "
            "unset it for Kaggle itself"
        )
    url = os.environ.get(PRACTICE_URL) or PRACTICE_ENDPOINTS[environment]
    # Credentials go there unencrypted, and a practice Kaggle binds loopback only.
    if urlsplit(url).hostname not in ("localhost", "127.0.0.1", "::1"):
        raise CompetitionError(
            f"{PRACTICE_URL}={url} is not on this machine: give it as http://localhost:PORT"
        )
    return url.rstrip("/")


def _point_to(practice_url: str) -> None:
    """Tell the client where its environment for this machine is.

    kagglesdk knows KAGGLE_API_ENVIRONMENT=TEST, but the client never asks it: KaggleApi chooses
    among PROD, STAGING, ADMIN and LOCAL by its ``args`` (build_kaggle_client_with_params, 2.2.4),
    and with TEST talks to kaggle.com. So its LOCAL is used; TEST is set too for a later client.
    """
    from kagglesdk import kaggle_env

    for environment in (kaggle_env.KaggleEnv.LOCAL, kaggle_env.KaggleEnv.TEST):
        kaggle_env._env_to_endpoint[environment] = practice_url


def _import(practice_url: str | None) -> tuple[Any, bool]:
    """Import the client; return an API object and whether the import has authenticated it."""
    first = "kaggle" not in sys.modules
    settings: dict[str, str] = {}
    if practice_url is not None:
        _point_to(practice_url)
        # The import authenticates: let it ask nothing of kaggle.com and touch no credentials.
        settings = {ENVIRONMENT: "LOCALHOST", **_PRACTICE_CREDENTIALS}
    try:
        with _environment(settings):
            import kaggle
            from kaggle.api.kaggle_api_extended import KaggleApi
    except OSError as error:
        # It makes its settings folder when imported (github.com/Kaggle/kaggle-cli/issues/288).
        raise CompetitionError(
            f"the Kaggle client cannot make its settings folder ({error.strerror}): set "
            "KAGGLE_CONFIG_DIR to a folder that can be written"
        ) from error
    method = kaggle.api.get_config_value(KaggleApi.CONFIG_NAME_AUTH_METHOD)
    authenticated = first and practice_url is None and method is not None
    api = kaggle.api if authenticated else KaggleApi()
    # Set outright, also to drop --verbose (VERBOSE=1), which prints the Authorization header.
    api.args = ["--local"] if practice_url is not None else []
    api.already_printed_version_warning = True
    return api, authenticated


def _check_credentials(api: Any) -> None:
    from kagglesdk import get_access_token_from_env

    method = api.get_config_value(api.CONFIG_NAME_AUTH_METHOD)
    if method != "ACCESS_TOKEN" and get_access_token_from_env()[0]:
        # Kaggle says that the token is not active; the client would send it all the same.
        raise errors.rejected_credentials_message(_source(api))
    names = (api.CONFIG_NAME_USER, api.CONFIG_NAME_KEY)
    empty = not all(api.get_config_value(name) for name in names)
    if method is None or (method == "LEGACY_API_KEY" and empty):
        raise errors.missing_credentials_message()


def _source(api: Any) -> str:
    """Say where the credentials come from: the client prefers a token over name and key."""
    from kagglesdk import get_access_token_from_env

    token, source = get_access_token_from_env()
    if token:
        return f"the token in {'~/.kaggle/access_token' if source == 'access_token' else source}"
    if api.get_config_value(api.CONFIG_NAME_AUTH_METHOD) == "OAUTH":
        return "from `kaggle auth login`"
    return f"user name and key of {api.get_config_value(api.CONFIG_NAME_USER)}"


@contextmanager
def _environment(settings: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for as long as the client looks at them."""
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _silence() -> Iterator[io.StringIO]:
    heard = io.StringIO()
    with (
        redirect_stdout(_SilencedStream(sys.stdout, heard)),
        redirect_stderr(_SilencedStream(sys.stderr, heard)),
    ):
        yield heard


class _SilencedStream:
    """A stream that keeps what one thread writes and passes on what all others write.

    A live display refreshes from a thread of its own and must stay visible meanwhile.
    """

    def __init__(self, stream: Any, heard: io.StringIO) -> None:
        self._stream, self._heard = stream, heard
        self._thread = threading.get_ident()

    def write(self, text: str) -> int:
        hushed = threading.get_ident() == self._thread
        return int((self._heard if hushed else self._stream).write(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
