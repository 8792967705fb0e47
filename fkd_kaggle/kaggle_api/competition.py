"""A session with Kaggle: download the data, submit, read scores, run kernels.

All requests use the official client. Its exceptions become a CompetitionError with one line, and
its answers become plain dataclasses. Reads no data file and prints nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, Final

from fkd_kaggle.errors import CompetitionError
from fkd_kaggle.kaggle_api import errors, kernel_output, kernels, responses
from fkd_kaggle.kaggle_api.client import Client, connect
from fkd_kaggle.kaggle_api.competition_files import download_files
from fkd_kaggle.kaggle_api.download import OnProgress, check_space
from fkd_kaggle.kaggle_api.errors import Action
from fkd_kaggle.kaggle_api.kernel_output import KernelLogLine
from fkd_kaggle.kaggle_api.kernels import KernelRef, KernelStatus, KernelVersion, StoredKernel
from fkd_kaggle.kaggle_api.retry import RetryPolicy
from fkd_kaggle.kaggle_api.submissions import (
    LeaderboardRow,
    SubmissionRecord,
    parse_score,
    submission_record,
    to_utc,
)

COMPETITION: Final = "facial-keypoints-detection"

SESSION_SECONDS: Final = 12 * 3600
"""Kaggle's limit of a kernel's session (docstring of the client 2.2.5: "at most 12 hours")."""

_PAGE: Final = 100


class Competition:
    """A session with Kaggle, or with a practice Kaggle, for one competition.

    Use :meth:`open` to create it. Every method raises CompetitionError if Kaggle refuses or cannot
    be reached; after transient failures (429, 5xx, broken connections) it waits and tries again.
    """

    def __init__(self, client: Client, slug: str) -> None:
        self._client = client
        self.slug = slug

    @classmethod
    def open(cls, slug: str = COMPETITION, retry_policy: RetryPolicy | None = None) -> Competition:
        """Import the official client and authenticate.

        ``KAGGLE_API_ENVIRONMENT=TEST`` selects the practice Kaggle on this machine, at the address
        ``FKD_PRACTICE_URL`` if it is set. Without credentials, its user is ``practice``.

        Parameters
        ----------
        slug
            The competition, as in its address.
        retry_policy
            How often to try; None for the default.
        """
        return cls(connect(retry_policy or RetryPolicy()), slug)

    @property
    def practice_url(self) -> str | None:
        """Return the address of the practice Kaggle; None for Kaggle itself."""
        return self._client.practice_url

    @property
    def user(self) -> str:
        """Return the name of the Kaggle user."""
        return self._client.user

    @property
    def credentials_source(self) -> str:
        """Return where the credentials come from, in words; never the credentials."""
        return self._client.source

    def download(
        self, data_dir: Path, on_progress: OnProgress | None = None, *, force: bool = False
    ) -> Path:
        """Download the competition's files as one zip and check it.

        If Kaggle limits the download of all files (429), they are downloaded one by one. An
        interrupted download is resumed, also by a later call.

        Parameters
        ----------
        data_dir
            The target folder; made if missing.
        on_progress
            Called with the bytes downloaded and the total bytes, or None while it is unknown.
        force
            Whether to download the zip again if it exists.

        Returns
        -------
        Path
            ``data_dir/<slug>.zip``.
        """
        target = data_dir / f"{self.slug}.zip"
        if target.exists() and not force:
            return target
        data_dir.mkdir(parents=True, exist_ok=True)
        check_space(target, self._data_size())
        action = self._action("downloading the competition's files")
        download_files(self._client, action, target, self._file_names, on_progress)
        return target

    def submit(self, csv: Path, message: str) -> int:
        """Upload a submission file; return the number of the submission.

        If the connection breaks and it is unknown whether Kaggle has received the file, the list
        of submissions is checked before the file is sent again: nothing is submitted twice.
        """
        if not csv.is_file():
            raise CompetitionError(f"there is no submission file {csv}")

        def send(api: Any) -> Any:
            with self._client.quietly() as captured:
                answer = api.competition_submit(str(csv), message, self.slug, quiet=True)
            if answer.message == api.COMPETITION_SUBMIT_UPLOAD_FAILED_MESSAGE:
                raise responses.UploadFailedError(printed=captured.getvalue())
            return answer.ref

        return self._submit(f"submitting {csv.name}", csv.name, send)

    def submit_kernel(self, kernel: str, version: int, file_name: str, message: str) -> int:
        """Submit an output file of a kernel's version; return the number of the submission."""

        def send(api: Any) -> Any:
            return api.competition_submit_code(
                file_name, message, self.slug, kernel, version, quiet=True
            ).ref

        return self._submit(f"submitting {file_name} of {kernel}", file_name, send)

    def submissions(self) -> list[SubmissionRecord]:
        """Return the user's submissions, newest first."""
        return list(self._submissions())

    def wait_for_score(
        self,
        ref: int,
        *,
        timeout: float = 900.0,
        on_wait: Callable[[float], None] = lambda waited: None,
    ) -> SubmissionRecord:
        """Wait until Kaggle has scored a submission, and return the submission.

        Parameters
        ----------
        ref
            Number of the submission.
        timeout
            Seconds after which the wait ends with an error.
        on_wait
            Called before each further request with the seconds waited so far.
        """
        waited, pause = 0.0, 1.0
        while True:
            record = self._submission(ref)
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
        """Return how many submissions Kaggle accepts until midnight UTC; None if unknown."""

        def limits(api: Any) -> Any:
            return api.competition_get_submission_limits(self.slug)

        answer = self._request("reading the daily limit", limits)
        if answer.num_total or answer.num_allowed_now:
            return int(answer.num_allowed_now)
        # All numbers are also zero before the first submission, when the user has no team.
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
            page = self._request_service("reading the leaderboard", "get_leaderboard", request)
            rows += page.submissions or []
            if not page.next_page_token or not page.submissions or len(rows) >= limit:
                break
            request.page_token = page.next_page_token
        return [
            LeaderboardRow(
                rank, row.team_name or "", parse_score(row.score), to_utc(row.submission_date)
            )
            for rank, row in enumerate(rows[:limit], start=1)
        ]

    def kernel_push(self, folder: Path, timeout: int = SESSION_SECONDS) -> KernelVersion:
        """Push a kernel's folder, which starts the kernel, for at most ``timeout`` seconds."""
        action = Action(f"pushing {folder}", self.slug, pushing=True)
        return kernels.push_kernel(self._client, action, folder, timeout)

    def kernel_stored(self, kernel: str, version: int = 0) -> StoredKernel | None:
        """Return a version of ``kernel`` ("owner/slug"); None if Kaggle shows none.

        ``version`` is Kaggle's number of the version, here and in the methods below; 0 is the
        newest version.
        """
        ref = KernelRef(kernel, version)
        return kernels.get_kernel(self._client, self._about("looking for it", ref), ref)

    def kernels_with_title(self, title: str) -> list[str]:
        """Return the user's kernels ("owner/slug") with this title, the last run first."""
        return kernels.find_by_title(self._client, self._action("looking for the kernel"), title)

    def kernel_status(self, kernel: str, version: int = 0) -> KernelStatus:
        """Return the status of a version of ``kernel`` ("owner/slug")."""
        ref = KernelRef(kernel, version)
        return kernels.get_status(self._client, self._about("reading its status", ref), ref)

    def kernel_logs(
        self,
        kernel: str,
        version: int = 0,
        *,
        follow: bool = False,
        is_stopped: Callable[[], bool] = lambda: False,
    ) -> Iterator[KernelLogLine]:
        """Yield the stored log of a kernel; with ``follow``, the log until the kernel ends.

        With ``follow``, ``is_stopped`` is called before each connection, from the thread that
        reads the log. If it returns True, the log ends.
        """
        ref = KernelRef(kernel, version)
        action = self._about("reading its log", ref)
        if follow:
            return kernel_output.follow_log(self._client, action, ref, is_stopped)
        return kernel_output.read_log(self._client, action, ref)

    def kernel_output(
        self,
        kernel: str,
        into: Path,
        version: int = 0,
        *,
        keep: bool = False,
        only: Collection[str] | None = None,
    ) -> list[Path]:
        """Download all output files of a kernel to ``into``, and its log as ``<slug>.log``.

        With ``keep``, existing files are not downloaded again, to resume an interrupted download.
        With ``only``, just the named files are downloaded, without the log.

        Returns
        -------
        list of Path
            All output files and the log.
        """
        ref = KernelRef(kernel, version)
        action = self._about("fetching its output", ref)
        return kernel_output.download_output(self._client, action, ref, into, keep=keep, only=only)

    def kernel_stop(self, kernel: str, session_id: int | None = None) -> None:
        """Stop a running kernel; Kaggle requires the number of its session."""
        ref = KernelRef(kernel)
        kernels.stop_kernel(self._client, self._about("stopping it", ref), ref, session_id)

    def gpu_hours_left(self) -> float | None:
        """Return the GPU hours left this week; None if unknown."""
        return kernels.gpu_hours_left(self._client, self._action("reading the GPU quota"))

    def _submit(self, what: str, file_name: str, send: Callable[[Any], Any]) -> int:
        if self.submissions_left() == 0:
            raise errors.daily_limit_error(self.slug)
        before = {record.ref for record in self._submissions()}

        def find_new() -> int | None:
            new = (one for one in self._submissions() if one.ref not in before)
            return next((one.ref for one in new if one.file_name == file_name), None)

        def may_have_arrived(error: Exception) -> bool:
            return responses.is_transient(error) or responses.is_unreadable_answer(error)

        ref = self._client.request(
            self._action(what), send, retry=may_have_arrived, recover=find_new
        )
        return int(ref) or find_new() or 0

    def _submission(self, ref: int) -> SubmissionRecord | None:
        """Return a submission by its number; None if Kaggle does not show it yet."""
        from kagglesdk.competitions.types.competition_api_service import ApiGetSubmissionRequest

        request = ApiGetSubmissionRequest()
        request.ref = ref
        # The client's get_submission is new in 2.2.5; the request is not.
        try:
            answer = self._request_service("reading your submission", "get_submission", request)
        except CompetitionError as error:
            if error.status == 404:
                return None
            raise
        return submission_record(answer)

    def _submissions(self) -> Iterator[SubmissionRecord]:
        """Yield the user's submissions, newest first, requesting pages when they are needed."""
        seen: set[int] = set()
        page_number = 1
        while True:

            def one_page(api: Any, number: int = page_number) -> list[Any]:
                return api.competition_submissions(self.slug, page_number=number, page_size=_PAGE)

            page = self._request("reading your submissions", one_page) or []
            new = [record for record in page if record.ref not in seen]
            yield from (submission_record(record) for record in new)
            seen.update(record.ref for record in new)
            # The client drops the token of the next page, so a short page or a repeated one is the
            # last. Kaggle may return fewer than requested, at least the client's default of 20.
            if not new or len(page) < 20:
                return
            page_number += 1

    def _data_size(self) -> int:
        """Return the bytes of all data files, which is about the size of their zip."""
        return sum(file.total_bytes or 0 for file in self._files())

    def _file_names(self) -> list[str]:
        """Return the names of the data files."""
        return [str(file.name) for file in self._files()]

    def _files(self) -> list[Any]:
        """Return Kaggle's description of each data file."""

        def files(api: Any) -> Any:
            return api.competition_list_files(self.slug, page_size=_PAGE).files

        return list(self._request("listing the data files", files) or ())

    def _competition(self) -> Any:
        from kagglesdk.competitions.types.competition_api_service import ApiGetCompetitionRequest

        request = ApiGetCompetitionRequest()
        request.competition_name = self.slug
        return self._request_service("reading the competition", "get_competition", request)

    def _request(self, what: str, call: Callable[[Any], Any]) -> Any:
        return self._client.request(self._action(what), call)

    def _request_service(self, what: str, method: str, request: Any) -> Any:
        """Call a method of the competition service for which the client has none."""

        def call(api: Any) -> Any:
            with api.build_kaggle_client() as kaggle:
                return getattr(kaggle.competitions.competition_api_client, method)(request)

        return self._request(what, call)

    def _action(self, what: str) -> Action:
        return Action(what, self.slug)

    def _about(self, what: str, ref: KernelRef) -> Action:
        """Return an action that concerns a kernel."""
        return Action(what, self.slug, kernel=str(ref))
