"""Messages for users about Kaggle's errors and network failures, one line each.

The messages quote Kaggle's own messages. They do not quote exceptions of the network libraries,
because these contain signed addresses. Sends no requests.
"""

from __future__ import annotations

import http
import re
import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import requests
import urllib3

from fkd_kaggle.errors import CompetitionError, redact
from fkd_kaggle.formatting import one_line
from fkd_kaggle.kaggle_api.responses import (
    CONNECTION_ERRORS,
    TRANSIENT_STATUSES,
    UploadFailedError,
    causes_of,
    http_status,
    is_connection_refused,
    is_timeout,
    is_unreadable_answer,
    is_untrusted,
    kaggle_message,
    retry_after,
)

SETTINGS: Final = "https://www.kaggle.com/settings"


class GpuSessionsTakenError(CompetitionError):
    """Kaggle already runs the highest allowed number of GPU sessions, or of CPU sessions.

    A push can succeed after a session has ended.
    """


@dataclass(frozen=True)
class Action:
    """The context of an error message: the operation during which the error occurs."""

    what: str
    """Phrase after "while", such as "downloading training.zip"."""
    slug: str
    """The competition's slug."""
    practice_url: str | None = None
    """Address of the practice Kaggle; None for Kaggle itself."""
    kernel: str | None = None
    """The kernel, "owner/slug"; None if the operation concerns no kernel."""
    credentials: str = "as found by the Kaggle client"
    """Where the credentials come from; never the credentials themselves."""
    attempts: int = 1
    """Number of attempts so far."""
    pushing: bool = False
    """Whether a kernel is being pushed, so that errors are about the kernel."""

    @property
    def server(self) -> str:
        """Return the name of the server, for the start of a sentence."""
        return "Kaggle" if self.practice_url is None else "Practice Kaggle"


def explain_error(error: Exception, action: Action) -> CompetitionError:
    """Return an error whose one-line message states the problem and the remedy.

    Parameters
    ----------
    error
        An exception of the official client.
    action
        The operation that failed.
    """
    status = http_status(error)
    if status is not None:
        return CompetitionError(_explain_status(status, error, action), status)
    if isinstance(error, CONNECTION_ERRORS) or is_untrusted(error):
        return CompetitionError(_explain_connection(error, action))
    if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema):
        what = "the practice Kaggle names an invalid address"
        if action.practice_url is None:
            what = "an address is invalid: check HTTPS_PROXY and ALL_PROXY"
        return CompetitionError(f"{what} (while {action.what})")
    if is_unreadable_answer(error):
        return CompetitionError(
            f"{action.server} gave an answer that Kaggle does not give "
            f"({type(error).__name__}) while {action.what}: is there a proxy or a login page "
            "in between?"
        )
    # The client's checks of its arguments, such as a kernel's title, have clear messages.
    return CompetitionError(f"{_one_line(redact(str(error)))} (while {action.what})")


def time_until_reset(now: datetime | None = None) -> str:
    """Return the time until the daily submission limit resets at 0:00 UTC, such as "3 h 05 min".

    Parameters
    ----------
    now
        The current time; None for the clock.
    """
    now = now or datetime.now(UTC)
    midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    minutes = int((midnight - now).total_seconds() // 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def daily_limit_error(slug: str) -> CompetitionError:
    """Return the error for a used-up daily limit of submissions; ``slug`` is the competition's."""
    return CompetitionError(
        f"today's submissions to {slug} are used up: the next are possible from midnight UTC, in "
        f"{time_until_reset()}; the submission file is kept"
    )


def push_refused_error(said: str) -> CompetitionError:
    """Return the error for a kernel that Kaggle received but did not run.

    Parameters
    ----------
    said
        Kaggle's answer.

    Returns
    -------
    CompetitionError
        A GpuSessionsTakenError if no session is free.
    """
    said = _one_line(said)
    lower = said.lower()
    if "session count" in lower or "concurrent" in lower:
        kind = re.search(r"\b[CGT]PU ", said)
        return GpuSessionsTakenError(
            f"Kaggle runs no more {kind[0] if kind else ''}sessions at once ({said}): wait until "
            "one has ended"
        )
    if "phone" in lower:
        return CompetitionError(_phone(said))
    if "quota" in lower:
        return CompetitionError(
            f"this week's GPU quota is used up ({said}): Kaggle renews it once a week, "
            f"see {SETTINGS}; `fkd-kaggle train-ensemble` trains on this machine"
        )
    name = any(word in lower for word in ("title", "slug", "not found"))
    hint = "; title and name are made from --title or from the run's name" if name else ""
    return CompetitionError(f"Kaggle refuses the kernel: {said}{hint}")


def missing_credentials_error() -> CompetitionError:
    """Return the error for missing credentials."""
    return CompetitionError(
        f"no Kaggle credentials found: create a token at {SETTINGS}/api and save it as "
        "~/.kaggle/access_token (or set KAGGLE_API_TOKEN, or run `kaggle auth login`); "
        "to practise without an account: `fkd-kaggle rehearse`"
    )


def rejected_credentials_error(source: str) -> CompetitionError:
    """Return the error for rejected credentials; ``source`` describes where they come from."""
    return CompetitionError(
        f"Kaggle does not accept your credentials ({source}) (401): they are wrong, expired or "
        f"revoked; create a new token at {SETTINGS}/api and save it as ~/.kaggle/access_token",
        401,
    )


def _explain_status(status: int, error: Exception, action: Action) -> str:
    """Return the message for an HTTP status."""
    message = _one_line(kaggle_message(error))
    lower = message.lower()
    said = f": {message}" if message else ""
    rules = f"https://www.kaggle.com/c/{action.slug}/rules"
    if status == 401:
        return str(rejected_credentials_error(action.credentials))
    if "phone" in lower:
        return _phone(str(status))
    if re.search(r"submission.*(limit|allowance|maximum|per day|today|remaining)", lower):
        return str(daily_limit_error(action.slug))
    if status == 403 and "accept" in lower and "rules" in lower:
        return (
            f"you have not accepted the rules of {action.slug} yet (403): open {rules}, accept "
            "them, then run the command again"
        )
    if action.pushing and status in (400, 403, 404, 409, 413):
        return (
            f"{action.server} refuses the kernel ({status}{said or f': {_phrase(status)}'}): its "
            "owner must be you, its title must give its name, and the competition's rules must be "
            f"accepted, see {rules}"
        )
    if action.kernel is not None and status in (401, 403, 404):
        return (
            f"{action.server} shows no kernel {action.kernel} ({status}) to you: check its owner "
            "and name; the kernel may be private or not pushed yet"
        )
    if status == 403:
        return (
            f"{action.server} refuses {action.what} (403{said}): usually the competition's "
            f"rules are not accepted, see {rules}"
        )
    if status == 400 and not message:
        return (
            f"{action.server} refuses {action.what} (400) and gives no reason: usually the "
            f"competition is not joined or its rules are not accepted, see {rules}; or the daily "
            "limit of submissions is used up"
        )
    if status == 404:
        return f"{action.server} has no competition named {action.slug!r} (404 while {action.what})"
    if status in TRANSIENT_STATUSES:
        return _explain_giving_up(status, error, action)
    return f"{action.server} refuses {action.what} ({status}){said or f': {_phrase(status)}'}"


def _phone(said: str) -> str:
    """Return the message that Kaggle requires a verified phone number."""
    return f"Kaggle requires your phone number verified first ({said}): verify it at {SETTINGS}"


def _explain_giving_up(status: int, error: Exception, action: Action) -> str:
    """Return the message for a transient HTTP status after the last attempt."""
    times = f"{action.attempts} attempts" if action.attempts > 1 else "one attempt"
    requested = retry_after(error)
    later = f"it asks to wait {requested:.0f} s" if requested is not None else "try again later"
    why = "too many requests" if status == 429 else _phrase(status)
    return (
        f"{action.server} answers {status} ({why}) while {action.what}; "
        f"gave up after {times}, {later}"
    )


def _explain_connection(error: Exception, action: Action) -> str:
    """Return the message for a failure of the connection."""
    causes = list(causes_of(error))
    if is_connection_refused(error) and action.practice_url is not None:
        return (
            f"no practice Kaggle answers at {action.practice_url}: start it with "
            "`fkd-kaggle practice` in another terminal"
        )
    if is_untrusted(error) and not any(
        isinstance(cause, ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY" in str(cause)
        for cause in causes
    ):
        return (
            f"no encrypted connection to Kaggle is possible while {action.what}, nothing was sent: "
            "a proxy or a firewall may be in between; check HTTPS_PROXY"
        )
    if is_untrusted(error):
        return (
            "Kaggle's certificate is not trusted on this machine, so nothing was sent: a proxy "
            "may be in between (set REQUESTS_CA_BUNDLE to its certificate) or the clock is wrong"
        )
    names = (socket.gaierror, urllib3.exceptions.NameResolutionError)
    if any(isinstance(cause, names) for cause in causes):
        return f"cannot find Kaggle's address while {action.what}: are you offline?"
    if any(isinstance(cause, requests.exceptions.ProxyError) for cause in causes):
        return f"your proxy did not answer while {action.what}: check HTTPS_PROXY"
    if is_connection_refused(error):
        return f"cannot connect to Kaggle while {action.what}: are you offline?"
    times = f" ({action.attempts} attempts)" if action.attempts > 1 else ""
    if isinstance(error, UploadFailedError) and not error.disconnected:
        return (
            f"{action.server}'s storage refuses the upload while {action.what}{times}: nothing "
            "was submitted, try again later"
        )
    if is_timeout(error):
        return (
            f"the connection to {action.server} timed out while {action.what}{times}, without an "
            "answer: run the command again later, finished steps are kept"
        )
    return (
        f"the connection to {action.server} was cut while {action.what}{times}: "
        "run the command again, finished steps are kept"
    )


def _one_line(text: str) -> str:
    """Return a text of a server on one line, cut to 300 characters."""
    return one_line(text, 300)


def _phrase(status: int) -> str:
    """Return the standard phrase of an HTTP status, such as "not found"."""
    try:
        return http.HTTPStatus(status).phrase.lower()
    except ValueError:
        return "an unknown status"
