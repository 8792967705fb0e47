"""Kaggle's CompetitionApiService: files, submissions, scores, limits, leaderboard.

Translates between the wire format and ``competition``, which has the rules.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import flask
from kagglesdk.competitions.types import competition_api_service as types
from kagglesdk.competitions.types.submission_status import SubmissionStatus
from kagglesdk.security.types.oauth_service import IntrospectTokenRequest, IntrospectTokenResponse

from fkd_kaggle.practice import fault_injection
from fkd_kaggle.practice.competition import (
    NOT_SCORED,
    TITLE,
    LeaderboardEntry,
    PracticeCompetition,
    SubmissionRefusedError,
)
from fkd_kaggle.practice.dataset import SERVED, SLUG
from fkd_kaggle.practice.storage import Submission
from fkd_kaggle.practice.uploads import MAX_SIZE, Uploads, upload_url
from fkd_kaggle.practice.wire_format import (
    paginate,
    read_request,
    redirect_to_storage,
    refuse,
    to_datetime,
    write_response,
)

_LONGEST_NAME: Final = 255

_STATUS: Final = {"complete": SubmissionStatus.COMPLETE, "error": SubmissionStatus.ERROR}


def blueprint(competition: PracticeCompetition, uploads: Uploads) -> flask.Blueprint:
    """Return the routes of the competition.

    Parameters
    ----------
    competition
        The rules and the data.
    uploads
        Uploads of submission files.
    """
    routes = flask.Blueprint("competitions", __name__)
    methods: dict[str, Callable[[], flask.Response]] = {
        "ListCompetitions": lambda: _list_competitions(competition),
        "GetCompetition": lambda: _get_competition(competition),
        "ListDataFiles": lambda: _list_data_files(competition),
        "DownloadDataFiles": _download_data_files,
        "DownloadDataFile": _download_data_file,
        "StartSubmissionUpload": lambda: _start_submission_upload(uploads),
        "CreateSubmission": lambda: _create_submission(competition, uploads),
        "CreateCodeSubmission": lambda: _create_code_submission(competition),
        "ListSubmissions": lambda: _list_submissions(competition),
        "GetSubmission": lambda: _get_submission(competition),
        "DownloadSubmission": lambda: _download_submission(competition),
        "GetSubmissionLimits": lambda: _get_submission_limits(competition),
        "GetLeaderboard": lambda: _get_leaderboard(competition),
        "DownloadLeaderboard": lambda: _download_leaderboard(competition),
    }

    @routes.post("/api/v1/competitions.CompetitionApiService/<method>")
    def call(method: str) -> flask.Response:
        if method not in methods:
            refuse(501, f"the practice Kaggle does not implement {method}")
        return methods[method]()

    @routes.post("/api/v1/security.OAuthService/IntrospectToken")
    def introspect() -> flask.Response:
        answer = IntrospectTokenResponse()
        answer.active = bool(read_request(IntrospectTokenRequest).token)
        answer.username = flask.g.user
        return write_response(answer)

    @routes.get(f"/storage/{SLUG}/archive.zip")
    def archive() -> flask.Response:
        return fault_injection.send_file(competition.dataset.archive, f"{SLUG}.zip")

    @routes.get(f"/storage/{SLUG}/files/<name>")
    def data_file(name: str) -> flask.Response:
        if name not in SERVED:
            refuse(404, "Not found")
        return fault_injection.send_file(competition.dataset.file(name), name)

    return routes


def _list_competitions(competition: PracticeCompetition) -> flask.Response:
    request = read_request(types.ApiListCompetitionsRequest)
    answer = types.ApiListCompetitionsResponse()
    found = (request.search or "").lower() in f"{SLUG} {TITLE}".lower()
    answer.competitions = [_competition(competition)] if found and (request.page or 1) == 1 else []
    return write_response(answer)


def _get_competition(competition: PracticeCompetition) -> flask.Response:
    _check_name(read_request(types.ApiGetCompetitionRequest))
    return write_response(_competition(competition))


def _competition(competition: PracticeCompetition) -> Any:
    answer = types.ApiCompetition()
    answer.id = 3486
    answer.ref = answer.url = f"{flask.request.host_url}competitions/{SLUG}"
    answer.title = TITLE
    answer.description = f"Practice: {competition.dataset.about}"
    answer.organization_name = answer.host_name = "practice Kaggle"
    answer.category = "Getting Started"
    answer.reward = "Knowledge"
    answer.deadline = to_datetime(4_102_444_800)  # the year 2100
    answer.user_has_entered = True
    answer.max_daily_submissions = competition.daily_limit
    answer.max_team_size = 1
    answer.evaluation_metric = "Root Mean Squared Error"
    answer.team_count = len(competition.leaderboard())
    return answer


def _list_data_files(competition: PracticeCompetition) -> flask.Response:
    request = read_request(types.ApiListDataFilesRequest)
    _check_name(request)
    names, token = paginate(SERVED, request)
    answer = types.ApiListDataFilesResponse()
    answer.files = [_data_file(competition.dataset.file(name)) for name in names]
    answer.next_page_token = token
    return write_response(answer)


def _data_file(path: Path) -> Any:
    file = types.ApiDataFile()
    file.ref = file.name = path.name
    file.total_bytes = path.stat().st_size
    file.creation_date = to_datetime(path.stat().st_mtime)
    return file


def _download_data_files() -> flask.Response:
    _check_name(read_request(types.ApiDownloadDataFilesRequest))
    return redirect_to_storage(f"storage/{SLUG}/archive.zip")


def _download_data_file() -> flask.Response:
    request = read_request(types.ApiDownloadDataFileRequest)
    _check_name(request)
    if request.file_name not in SERVED:
        refuse(404, "Not found")
    return redirect_to_storage(f"storage/{SLUG}/files/{request.file_name}")


def _start_submission_upload(uploads: Uploads) -> flask.Response:
    request = read_request(types.ApiStartSubmissionUploadRequest)
    _check_name(request)
    answer = types.ApiStartSubmissionUploadResponse()
    if not 0 <= request.content_length <= MAX_SIZE:
        refuse(400, f"The file must be smaller than {MAX_SIZE >> 20} MB")
    if len(request.file_name) > _LONGEST_NAME:
        refuse(400, "The file name is too long")
    answer.token = uploads.start(flask.g.user, request.file_name, request.content_length)
    answer.create_url = upload_url(answer.token)
    return write_response(answer)


def _create_submission(competition: PracticeCompetition, uploads: Uploads) -> flask.Response:
    request = read_request(types.ApiCreateSubmissionRequest)
    _check_name(request)
    token = request.blob_file_tokens
    upload = uploads.take(token, flask.g.user)
    if upload is None:
        refuse(400, "The uploaded file was not found or is incomplete")
    description = request.submission_description
    try:
        submission = _submit(competition, upload.file_name, description, upload.path)
    except Exception:
        uploads.restore(token, upload)
        raise
    uploads.discard(token)
    answer = types.ApiCreateSubmissionResponse()
    answer.message, answer.ref = _accepted_message(submission), submission.ref
    return write_response(answer)


def _create_code_submission(competition: PracticeCompetition) -> flask.Response:
    request = read_request(types.ApiCreateCodeSubmissionRequest)
    _check_name(request)
    file_name = request.file_name or "submission.csv"
    if request.kernel_owner.lower() != flask.g.user.lower():
        refuse(403, "Permission 'kernels.submit' was denied")
    content = competition.kernels.output_file(
        request.kernel_owner, request.kernel_slug, request.kernel_version or None, file_name
    )
    if content is None:
        refuse(404, "Not found: this version of the kernel has no such output file")
    submission = _submit(competition, file_name, request.submission_description, content)
    answer = types.ApiCreateCodeSubmissionResponse()
    answer.message, answer.ref = _accepted_message(submission), submission.ref
    return write_response(answer)


def _submit(
    competition: PracticeCompetition, file_name: str, message: str, content: Path
) -> Submission:
    try:
        return competition.submit(flask.g.user, file_name, message, content)
    except SubmissionRefusedError as error:
        refuse(400, str(error))


def _accepted_message(submission: Submission) -> str:
    remark = f" ({submission.remark})" if submission.remark == NOT_SCORED else ""
    return f"Successfully submitted to {TITLE}{remark}"


def _list_submissions(competition: PracticeCompetition) -> flask.Response:
    request = read_request(types.ApiListSubmissionsRequest)
    _check_name(request)
    own = competition.store.submissions(flask.g.user)
    if request.group.name.endswith("SUCCESSFUL"):
        own = [one for one in own if one.status == "complete"]
    if request.sort_by.name.endswith("NAME"):
        own.sort(key=lambda one: one.file_name)
    elif "SCORE" in request.sort_by.name:
        own.sort(key=lambda one: (one.public_score is None, one.public_score))
    rows, token = paginate(own, request)
    answer = types.ApiListSubmissionsResponse()
    answer.submissions = [_submission(one) for one in rows]
    answer.next_page_token = token
    return write_response(answer)


def _get_submission(competition: PracticeCompetition) -> flask.Response:
    return write_response(
        _submission(_own_submission(competition, read_request(types.ApiGetSubmissionRequest).ref))
    )


def _download_submission(competition: PracticeCompetition) -> flask.Response:
    submission = _own_submission(
        competition, read_request(types.ApiDownloadSubmissionRequest).submission_id
    )
    path = competition.store.submission_file(submission)
    return fault_injection.send_file(path, submission.file_name)


def _own_submission(competition: PracticeCompetition, ref: int) -> Submission:
    """Return the user's submission ``ref``; as on Kaggle, others are not found."""
    submission = competition.store.submission(ref)
    if submission is None or submission.user != flask.g.user:
        refuse(404, "Not found")
    return submission


def _submission(submission: Submission) -> Any:
    answer = types.ApiSubmission()
    answer.ref = submission.ref
    answer.total_bytes = submission.size
    answer.date = to_datetime(submission.date)
    answer.description = submission.message
    answer.error_description = submission.remark
    answer.file_name = submission.file_name
    answer.public_score = _format_score(submission.public_score)
    answer.private_score = _format_score(submission.private_score)
    answer.status = _STATUS[submission.status]
    answer.submitted_by = answer.team_name = submission.user
    answer.url = f"{flask.request.host_url}#{submission.ref}"
    return answer


def _get_submission_limits(competition: PracticeCompetition) -> flask.Response:
    _check_name(read_request(types.ApiGetSubmissionLimitsRequest))
    user = flask.g.user
    answer = types.ApiSubmissionLimits()
    answer.num_today = competition.store.count_today(user)
    answer.num_total = len(competition.store.submissions(user))
    answer.num_allowed_now = competition.left_today(user)
    return write_response(answer)


def _get_leaderboard(competition: PracticeCompetition) -> flask.Response:
    request = read_request(types.ApiGetLeaderboardRequest)
    _check_name(request)
    ranked = list(enumerate(competition.leaderboard(), start=1))
    rows, token = paginate(ranked, request)
    answer = types.ApiGetLeaderboardResponse()
    answer.submissions = [_leaderboard_row(rank, entry) for rank, entry in rows]
    answer.next_page_token = token
    return write_response(answer)


def _leaderboard_row(rank: int, entry: LeaderboardEntry) -> Any:
    row = types.ApiLeaderboardSubmission()
    row.team_id = rank
    row.team_name = entry.team
    row.submission_date = to_datetime(entry.date)
    row.score = _format_score(entry.public_score)
    return row


def _download_leaderboard(competition: PracticeCompetition) -> flask.Response:
    _check_name(read_request(types.ApiDownloadLeaderboardRequest))
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(["Rank", "TeamId", "TeamName", "LastSubmissionDate", "Score", "SubmissionCount"])
    for rank, entry in enumerate(competition.leaderboard(), start=1):
        date = to_datetime(entry.date).isoformat(" ", "seconds")
        table.writerow(
            [rank, rank, entry.team, date, _format_score(entry.public_score), entry.entries]
        )
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{SLUG}-publicleaderboard.csv", text.getvalue())
    return flask.Response(content.getvalue(), mimetype="application/zip")


def _check_name(request: Any) -> None:
    """Refuse a request about another competition."""
    if request.competition_name != SLUG:
        refuse(404, "Not found")


def _format_score(score: float | None) -> str:
    return "" if score is None else f"{score:.5f}"
