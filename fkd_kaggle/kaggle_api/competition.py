"""The one door to Kaggle: fetch the data, submit, read scores, run kernels.

Everything goes through the official client; what it raises leaves here as a CompetitionError with
one plain line. Values come out as plain dataclasses: nobody else needs to know the client. Looks
into no data file and prints nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from fkd_kaggle.errors import CompetitionError
from fkd_kaggle.kaggle_api import errors, kernels, responses
from fkd_kaggle.kaggle_api.client import Client, connect
from fkd_kaggle.kaggle_api.download import OnProgress, check_space, check_zip, download_file
from fkd_kaggle.kaggle_api.errors import Action
from fkd_kaggle.kaggle_api.kernels import KernelLogLine, KernelStatus, KernelVersion, StoredKernel
from fkd_kaggle.kaggle_api.retry import RetryPolicy

COMPETITION: Final = "facial-keypoints-detection"

_PAGE: Final = 100


@dataclass(frozen=True)
class SubmissionRecord:
    """A submission as Kaggle lists it."""

    ref: int
    file_name: str
    message: str
    submitted: datetime | None
    """Aware, UTC."""
    status: Literal["pending", "complete", "error"]
    error: str
    """Why Kaggle could not score it; empty otherwise."""
    public_score: float | None
    private_score: float | None
    team: str


@dataclass(frozen=True)
class LeaderboardRow:
    """One team's place."""

    rank: int
    """From 1."""
    team: str
    score: float | None
    submitted: datetime | None


class Competition:
    """A session with Kaggle, or with a practice Kaggle, about one competition.

    Open one with :meth:`open`. Every method raises CompetitionError where Kaggle refuses or cannot
    be reached; what may pass by itself (429, 5xx, broken connections) is waited for first.
    """

    def __init__(self, client: Client, slug: str) -> None:
        self._client = client
        self.slug = slug

    @classmethod
    def open(cls, slug: str = COMPETITION, retry_policy: RetryPolicy | None = None) -> Competition:
        """Import the official client and authenticate.

        ``KAGGLE_API_ENVIRONMENT=TEST`` means the practice Kaggle on this machine, at
        ``FKD_PRACTICE_URL`` where that is set; without credentials the user ``practice`` is used
        there.
        """
        return cls(connect(retry_policy or RetryPolicy()), slug)

    @property
    def practice_url(self) -> str | None:
        """Where the practice Kaggle is; None when this is Kaggle itself."""
        return self._client.practice_url

    @property
    def user(self) -> str:
        """The name of the Kaggle user."""
        return self._client.user

    # --- data ---------------------------------------------------------------------------------

    def download(
        self, data_dir: Path, on_progress: OnProgress | None = None, *, force: bool = False
    ) -> Path:
        """Bring the competition's files to ``data_dir`` as one zip, and check it.

        A download that broke off is resumed, also by a later call. Does nothing where the zip is
        already there, unless ``force``.

        Returns
        -------
        Path
            ``data_dir/<slug>.zip``, whole.
        """
        target = data_dir / f"{self.slug}.zip"
        if target.exists() and not force:
            return target
        data_dir.mkdir(parents=True, exist_ok=True)
        check_space(data_dir, self._data_size())
        download_file(
            self._client,
            self._action("downloading the competition's files"),
            lambda api, staged: api.competition_download_files(
                self.slug, path=str(staged.parent), quiet=True
            ),
            target,
            check_zip,
            on_progress,
        )
        return target

    # --- submissions --------------------------------------------------------------------------

    def submit(self, csv: Path, message: str) -> int:
        """Upload a submission file; return Kaggle's number for it.

        Where the connection breaks at a moment that leaves open whether Kaggle has taken the file,
        the list of submissions is asked before it is sent again: nothing is submitted twice.
        """
        if not csv.is_file():
            raise CompetitionError(f"there is no submission file {csv}")

        def send(api: Any) -> Any:
            with self._client.quietly() as heard:
                answer = api.competition_submit(str(csv), message, self.slug, quiet=True)
            if answer.message == api.COMPETITION_SUBMIT_UPLOAD_FAILED_MESSAGE:
                raise responses.UploadFailedError(printed=heard.getvalue())
            return answer.ref

        return self._submit(f"submitting {csv.name}", csv.name, send)

    def submit_kernel(self, kernel: str, version: int, file_name: str, message: str) -> int:
        """Submit a file that a version of a kernel left; return Kaggle's number for it."""

        def send(api: Any) -> Any:
            return api.competition_submit_code(
                file_name, message, self.slug, kernel, version, quiet=True
            ).ref

        return self._submit(f"submitting {file_name} of {kernel}", file_name, send)

    def submissions(self) -> list[SubmissionRecord]:
        """List our submissions, newest first."""
        return list(self._submissions())

    def wait_for_score(
        self,
        ref: int,
        *,
        timeout: float = 900.0,
        on_wait: Callable[[float], None] = lambda waited: None,
    ) -> SubmissionRecord:
        """Return submission ``ref`` once Kaggle has scored it, after ``timeout`` seconds at most.

        ``on_wait`` is told the seconds waited so far, before each further look.
        """
        waited, pause = 0.0, 1.0
        while True:
            record = next((one for one in self._submissions() if one.ref == ref), None)
            if record is not None and record.status == "error":
                reason = record.error or "it gives no reason"
                raise CompetitionError(f"Kaggle could not score {record.file_name}: {reason}")
            if record is not None and record.status == "complete":
                return record
            if waited >= timeout:
                raise CompetitionError(
                    f"Kaggle has not scored submission {ref} after {waited / 60:.0f} minutes: look "
                    "later with `fkd-kaggle submissions`"
                )
            on_wait(waited)
            self._client.retry_policy.sleep(pause)
            waited, pause = waited + pause, min(15.0, pause * 1.5)

    def submissions_left(self) -> int | None:
        """Return how many submissions Kaggle takes until midnight UTC; None if it does not say."""

        def limits(api: Any) -> Any:
            return api.competition_get_submission_limits(self.slug)

        answer = self._ask("reading the daily limit", limits)
        if answer.num_total or answer.num_allowed_now:
            return int(answer.num_allowed_now)
        # All zero also means: not on a team yet, which the first submission changes.
        daily = self._competition().max_daily_submissions
        return int(daily) if daily else None

    def leaderboard(self, limit: int = 50) -> list[LeaderboardRow]:
        """Return the first ``limit`` teams of the leaderboard."""
        from kagglesdk.competitions.types.competition_api_service import ApiGetLeaderboardRequest

        rows: list[Any] = []
        request = ApiGetLeaderboardRequest()
        request.competition_name = self.slug
        while True:
            request.page_size = min(_PAGE, limit - len(rows))
            # competition_leaderboard_view prints the next page's token instead of returning it.
            page = self._ask_service("reading the leaderboard", "get_leaderboard", request)
            rows += page.submissions or []
            if not page.next_page_token or not page.submissions or len(rows) >= limit:
                break
            request.page_token = page.next_page_token
        return [
            LeaderboardRow(rank, row.team_name, _score(row.score), _utc(row.submission_date))
            for rank, row in enumerate(rows[:limit], start=1)
        ]

    # --- kernels ------------------------------------------------------------------------------

    def kernel_push(self, folder: Path, timeout: int | None = None) -> KernelVersion:
        """Push a kernel's folder, which also starts it, for ``timeout`` seconds at most."""
        action = Action(f"pushing {folder}", self.slug, pushing=True)
        return kernels.push_kernel(self._client, action, folder, timeout)

    def kernel_stored(self, kernel: str) -> StoredKernel | None:
        """Return the newest version of ``kernel``; None where Kaggle shows us no such kernel."""
        return kernels.get_kernel(self._client, self._action("looking for it", kernel))

    def kernel_status(self, kernel: str) -> KernelStatus:
        """Say how the newest version of ``kernel`` ("owner/name") is action."""
        return kernels.get_status(self._client, self._action("reading its status", kernel))

    def kernel_logs(self, kernel: str, *, follow: bool = False) -> Iterator[KernelLogLine]:
        """Yield what a kernel has printed; with ``follow``, what it prints, until it ends."""
        read = kernels.follow_log if follow else kernels.read_log
        return read(self._client, self._action("reading its log", kernel))

    def kernel_output(self, kernel: str, into: Path, *, keep: bool = False) -> list[Path]:
        """Bring all files that a kernel left to ``into``, and its log as ``<name>.log``.

        With ``keep``, files that are in ``into`` already stay as they are: an output that was
        interrupted goes on. Returns all paths.
        """
        action = self._action("fetching its output", kernel)
        return kernels.download_output(self._client, action, into, keep=keep)

    def kernel_stop(self, kernel: str, session_id: int | None = None) -> None:
        """Stop a running kernel. Kaggle must be told the session, and tells it to nobody yet."""
        kernels.stop_kernel(self._client, self._action("stopping it", kernel), session_id)

    def gpu_hours_left(self) -> float | None:
        """Return the hours of GPU that this week's quota has left; None if Kaggle does not say."""
        return kernels.gpu_hours_left(self._client, self._action("reading the GPU quota"))

    # --- inside -------------------------------------------------------------------------------

    def _submit(self, what: str, file_name: str, send: Callable[[Any], Any]) -> int:
        if self.submissions_left() == 0:
            raise errors.daily_limit_error(self.slug)
        before = {record.ref for record in self._submissions()}

        def arrived() -> int | None:
            new = (one for one in self._submissions() if one.ref not in before)
            return next((one.ref for one in new if one.file_name == file_name), None)

        def open_question(error: Exception) -> bool:
            return responses.is_transient(error) or responses.is_unreadable_answer(error)

        ref = self._client.request(self._action(what), send, retry=open_question, recover=arrived)
        return int(ref) or arrived() or 0

    def _submissions(self) -> Iterator[SubmissionRecord]:
        """Walk our submissions from the newest, a page at a time, as far as the caller looks."""
        seen: set[int] = set()
        page_number = 1
        while True:

            def one_page(api: Any, number: int = page_number) -> list[Any]:
                return api.competition_submissions(self.slug, page_number=number, page_size=_PAGE)

            page = self._ask("reading your submissions", one_page) or []
            new = [record for record in page if record.ref not in seen]
            yield from (_record(record) for record in new)
            seen.update(record.ref for record in new)
            # The client drops the token of the next page; a short page or an old one is the last.
            # Kaggle may give fewer than asked for, 20 being the client's own default.
            if not new or len(page) < 20:
                return
            page_number += 1

    def _data_size(self) -> int:
        """Return the bytes of all data files, which the zip of them does not exceed by much."""

        def files(api: Any) -> Any:
            return api.competition_list_files(self.slug, page_size=_PAGE).files

        return sum(file.total_bytes or 0 for file in self._ask("listing the data files", files))

    def _competition(self) -> Any:
        from kagglesdk.competitions.types.competition_api_service import ApiGetCompetitionRequest

        request = ApiGetCompetitionRequest()
        request.competition_name = self.slug
        return self._ask_service("reading the competition", "get_competition", request)

    def _ask(self, what: str, call: Callable[[Any], Any]) -> Any:
        return self._client.request(self._action(what), call)

    def _ask_service(self, what: str, method: str, request: Any) -> Any:
        """Ask the competition service itself, where the client has no method for it."""

        def call(api: Any) -> Any:
            with api.build_kaggle_client() as kaggle:
                return getattr(kaggle.competitions.competition_api_client, method)(request)

        return self._ask(what, call)

    def _action(self, what: str, kernel: str | None = None) -> Action:
        return Action(what, self.slug, kernel=kernel)


def _record(submission: Any) -> SubmissionRecord:
    return SubmissionRecord(
        ref=submission.ref,
        file_name=submission.file_name or "",
        message=submission.description or "",
        submitted=_utc(submission.date),
        status=submission.status.name.lower(),
        error=submission.error_description or "",
        public_score=_score(submission.public_score),
        private_score=_score(submission.private_score),
        team=submission.team_name or "",
    )


def _score(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None


def _utc(naive: datetime | None) -> datetime | None:
    """Kaggle's times are UTC; kagglesdk drops the Z."""
    return naive.replace(tzinfo=UTC) if naive is not None else None
