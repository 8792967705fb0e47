"""What Kaggle's refusals and the network's accidents mean, in one plain line each.

Also says which of them may pass when one waits. Talks to nobody. Passes on Kaggle's own message
but no text of an exception: those of the client contain signed addresses.
"""

from __future__ import annotations

import http
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

import requests
import urllib3

from fkd_kaggle.errors import CompetitionError

SETTINGS: Final = "https://www.kaggle.com/settings"

REFUSALS: Final = (requests.RequestException, urllib3.exceptions.HTTPError, ValueError)
"""What the official client raises: of the network, of Kaggle's answer, of what it was given."""

CUTS: Final = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    urllib3.exceptions.HTTPError,
)
"""Accidents of the connection; requests lets some of urllib3's through as they are."""

PASSING_STATUSES: Final = frozenset({429, 500, 502, 503, 504})


class GpuSessionsTakenError(CompetitionError):
    """As many GPU sessions run as Kaggle allows at once; a push may succeed when one has ended."""


class UploadFailedError(requests.ConnectionError):
    """An upload did not go through. The client returns no reason: what it printed is all there is.

    Raised before the submission is created, so that sending again is safe.
    """

    def __init__(self, printed: str) -> None:
        super().__init__("upload failed")
        self.cut = bool(printed.strip())
        """The connection broke; otherwise the storage answered, but not that all is well."""
        self.retried = "Max retries exceeded" in printed
        """The client has tried ten times already, for six minutes (``upload_complete``)."""


@dataclass(frozen=True)
class Action:
    """What was being done when Kaggle refused: the context of an error message."""

    what: str
    """Continues "while …"."""
    slug: str
    practice_url: str | None = None
    kernel: str | None = None
    credentials: str = "as found by the Kaggle client"
    """Where they come from; never what they are."""
    attempts: int = 1
    pushing: bool = False
    """A kernel is being pushed: what Kaggle does not find or allow is the kernel's."""

    @property
    def whom(self) -> str:
        """Whom we talk to, at the start of a sentence."""
        return "Kaggle" if self.practice_url is None else "Practice Kaggle"


def explain_error(error: Exception, doing: Action) -> CompetitionError:
    """Put ``error`` in plain words: what is wrong and what to do."""
    status = http_status(error)
    if status is not None:
        return CompetitionError(_explain_status(status, error, doing), status)
    if isinstance(error, CUTS):
        return CompetitionError(_explain_connection(error, doing))
    if is_unreadable_answer(error):
        return CompetitionError(
            f"{doing.whom} gave an answer that is not Kaggle's ({type(error).__name__}) while "
            f"{doing.what}: is there a proxy or a login page in between?"
        )
    # The client's own checks of what it was given, such as a kernel's title, explain themselves.
    return CompetitionError(f"{_one_line(str(error))} (while {doing.what})")


def is_transient(error: Exception) -> bool:
    """Tell whether asking again later may help."""
    status = http_status(error)
    if status is not None:
        return status in PASSING_STATUSES
    if isinstance(error, UploadFailedError):
        return not error.retried
    return isinstance(error, CUTS) and not isinstance(error, requests.exceptions.SSLError)


def is_unreadable_answer(error: Exception) -> bool:
    """Tell whether what answered was not Kaggle: an empty answer, a proxy's page, a redirect."""
    if http_status(error) is not None or isinstance(error, CUTS):
        return False
    return type(error) is not ValueError  # That is the client's own check of what it was given.


def is_connection_refused(error: Exception) -> bool:
    """Tell whether nobody listens at the other end, as opposed to a connection that broke."""
    return any(isinstance(cause, ConnectionRefusedError) for cause in _causes(error))


def http_status(error: Exception) -> int | None:
    """Return the HTTP status behind ``error``, if Kaggle answered at all."""
    for cause in _causes(error):
        response = getattr(cause, "response", None)
        if isinstance(cause, requests.HTTPError) and response is not None:
            # Kaggle also sends errors as JSON with a code of its own under status 200.
            return response.status_code if response.status_code >= 400 else _body(response)[0]
    return None


def retry_after(error: Exception) -> float | None:
    """Return the seconds that Kaggle asks to wait (given as seconds or as a date), if it does."""
    value = _header(error, "Retry-After")
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def time_until_reset(now: datetime | None = None) -> str:
    """Say how long it is until Kaggle's next day of submissions, which begins at 0:00 UTC."""
    now = now or datetime.now(UTC)
    midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    minutes = int((midnight - now).total_seconds() // 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def daily_limit_message(slug: str) -> CompetitionError:
    """Say that today's submissions are used up."""
    return CompetitionError(
        f"today's submissions to {slug} are used up: Kaggle counts anew at midnight UTC, in "
        f"{time_until_reset()}; the file is kept, submit it then"
    )


def push_refused_message(said: str) -> CompetitionError:
    """Say why Kaggle took a kernel's push and did not run it, in the words of its answer."""
    said = _one_line(said)
    lower = said.lower()
    if "session count" in lower or "concurrent" in lower:
        return GpuSessionsTakenError(
            f"Kaggle runs no more GPU sessions at once ({said}): wait until one has ended"
        )
    if "phone" in lower:
        return CompetitionError(_phone(said))
    if "quota" in lower:
        return CompetitionError(
            f"this week's GPU quota is used up ({said}): Kaggle fills it up again once a week, "
            f"see {SETTINGS}; `fkd-kaggle train-ensemble` trains on this machine meanwhile"
        )
    name = any(word in lower for word in ("title", "slug", "not found"))
    hint = "; title and name come from --title, else from the run's name" if name else ""
    return CompetitionError(f"Kaggle refuses the kernel: {said}{hint}")


def missing_credentials_message() -> CompetitionError:
    """Say where credentials come from and what needs none."""
    return CompetitionError(
        f"no Kaggle credentials found: create a token at {SETTINGS}/api and save it as "
        "~/.kaggle/access_token (or set KAGGLE_API_TOKEN, or run `kaggle auth login`); "
        "`fkd-kaggle rehearse` and KAGGLE_API_ENVIRONMENT=TEST need none"
    )


def rejected_credentials_message(source: str) -> CompetitionError:
    """Say that Kaggle does not accept the credentials, without showing them."""
    return CompetitionError(
        f"Kaggle does not accept your credentials ({source}) (401): they are wrong, expired or "
        f"revoked; create a new token at {SETTINGS}/api and save it as ~/.kaggle/access_token",
        401,
    )


def _explain_status(status: int, error: Exception, doing: Action) -> str:
    message = _message(error)
    lower = message.lower()
    said = f": {message}" if message else ""
    rules = f"https://www.kaggle.com/c/{doing.slug}/rules"
    if status == 401:
        return str(rejected_credentials_message(doing.credentials))
    if "phone" in lower:
        return _phone(str(status))
    if re.search(r"submission.*(limit|allowance|maximum|per day|today|remaining)", lower):
        return str(daily_limit_message(doing.slug))
    if status == 403 and "accept" in lower and "rules" in lower:
        return (
            f"you have not accepted the rules of {doing.slug} yet (403): open {rules}, accept "
            "them, then run the command again"
        )
    if doing.pushing and status in (400, 403, 404, 409, 413):
        return (
            f"{doing.whom} refuses the kernel ({status}{said or f': {_phrase(status)}'}): its "
            "owner must be you, its title must give its name, and the competition's rules must be "
            f"accepted, see {rules}"
        )
    if doing.kernel is not None and status in (401, 403, 404):
        return (
            f"{doing.whom} shows you no kernel {doing.kernel} ({status}): check its owner and "
            "name, it may be private or not pushed yet"
        )
    if status == 403:
        return (
            f"{doing.whom} refuses {doing.what} (403{said}): mostly the competition's rules are "
            f"not accepted, see {rules}"
        )
    if status == 404:
        return f"{doing.whom} has no competition named {doing.slug!r} (404 while {doing.what})"
    if status in PASSING_STATUSES:
        return _explain_giving_up(status, error, doing)
    return f"{doing.whom} refuses {doing.what} ({status}){said or f': {_phrase(status)}'}"


def _phone(said: str) -> str:
    return f"Kaggle wants your phone number verified first ({said}): do so at {SETTINGS}"


def _explain_giving_up(status: int, error: Exception, doing: Action) -> str:
    times = f"{doing.attempts} attempts" if doing.attempts > 1 else "one attempt"
    asked = retry_after(error)
    later = f"it asks to wait {asked:.0f} s" if asked is not None else "try again later"
    why = "it limits how often one may ask" if status == 429 else _phrase(status)
    return (
        f"{doing.whom} answers {status} ({why}) while {doing.what}; gave up after {times}, {later}"
    )


def _explain_connection(error: Exception, doing: Action) -> str:
    causes = list(_causes(error))
    if is_connection_refused(error) and doing.practice_url is not None:
        return (
            f"no practice Kaggle answers at {doing.practice_url}: start it with "
            "`fkd-kaggle practice` in another terminal"
        )
    if any(isinstance(cause, requests.exceptions.SSLError) for cause in causes):
        return (
            "Kaggle's certificate is not trusted on this machine, so nothing was sent: a proxy "
            "may be in between (set REQUESTS_CA_BUNDLE to its certificate) or the clock be wrong"
        )
    names = (socket.gaierror, urllib3.exceptions.NameResolutionError)
    if any(isinstance(cause, names) for cause in causes):
        return f"cannot find Kaggle's address while {doing.what}: are you offline?"
    if any(isinstance(cause, requests.exceptions.ProxyError) for cause in causes):
        return f"your proxy did not answer while {doing.what}: check HTTPS_PROXY"
    if is_connection_refused(error):
        return f"cannot connect to Kaggle while {doing.what}: are you offline?"
    times = f" ({doing.attempts} attempts)" if doing.attempts > 1 else ""
    if isinstance(error, UploadFailedError) and not error.cut:
        return (
            f"{doing.whom}'s storage does not take the upload while {doing.what}{times}: nothing "
            "was submitted, try again later"
        )
    kind = "timed out" if isinstance(error, requests.Timeout) else "was cut"
    return (
        f"the connection to {doing.whom} {kind} while {doing.what}{times}: run the command again, "
        "what is done is kept"
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Walk an exception and all it was raised from or wraps, as requests and urllib3 nest them."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        cause = waiting.pop(0)
        if cause is None or id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        waiting += [cause.__cause__, cause.__context__, getattr(cause, "reason", None)]
        waiting += [arg for arg in cause.args if isinstance(arg, BaseException)]


def _header(error: Exception, name: str) -> str | None:
    response = getattr(error, "response", None)
    return response.headers.get(name) if response is not None else None


def _message(error: Exception) -> str:
    """Return what Kaggle itself says about its refusal, on one line."""
    for cause in _causes(error):
        response = getattr(cause, "response", None)
        if response is not None:
            return _one_line(_body(response)[1])
    return ""


def _body(response: requests.Response) -> tuple[int, str]:
    """Return the code and the message of Kaggle's JSON error, (status, "") where it is not one."""
    try:
        body = response.json()
        body = body.get("error", body)  # Kaggle has two forms; the client knows the flat one
        return int(body.get("code", response.status_code)), str(body.get("message", ""))
    except (requests.RequestException, ValueError, AttributeError, RuntimeError):
        return response.status_code, ""


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300]


def _phrase(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase.lower()
    except ValueError:
        return "an unknown status"
