"""Kaggle's CompetitionApiService: files, submissions, scores, limits, leaderboard."""

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

from fkd_kaggle.practice import fault_injection, storage
from fkd_kaggle.practice.competition import NOT_SCORED, TITLE, LeaderboardEntry, PracticeCompetition
from fkd_kaggle.practice.dataset import SERVED, SLUG
from fkd_kaggle.practice.storage import Submission
from fkd_kaggle.practice.wire_format import (
    paginate,
    read_request,
    redirect_to_storage,
    refuse,
    to_datetime,
    write_response,
)

_STATUS: Final = {"complete": SubmissionStatus.COMPLETE, "error": SubmissionStatus.ERROR}


def blueprint(host: PracticeCompetition) -> flask.Blueprint:
    """Return the routes of the competition."""
    routes = flask.Blueprint("competitions", __name__)
    methods: dict[str, Callable[[], flask.Response]] = {
        "ListCompetitions": lambda: _list_competitions(host),
        "GetCompetition": lambda: _get_competition(host),
        "ListDataFiles": lambda: _list_data_files(host),
        "DownloadDataFiles": _download_data_files,
        "DownloadDataFile": _download_data_file,
        "StartSubmissionUpload": lambda: _start_submission_upload(host),
        "CreateSubmission": lambda: _create_submission(host),
        "CreateCodeSubmission": lambda: _create_code_submission(host),
        "ListSubmissions": lambda: _list_submissions(host),
        "GetSubmission": lambda: _get_submission(host),
        "DownloadSubmission": lambda: _download_submission(host),
        "GetSubmissionLimits": lambda: _get_submission_limits(host),
        "GetLeaderboard": lambda: _get_leaderboard(host),
        "DownloadLeaderboard": lambda: _download_leaderboard(host),
    }

    @routes.post("/api/v1/competitions.CompetitionApiService/<method>")
    def competition(method: str) -> flask.Response:
        if method not in methods:
            refuse(501, f"a practice Kaggle does not know {method}")
        return methods[method]()

    @routes.post("/api/v1/security.OAuthService/IntrospectToken")
    def introspect() -> flask.Response:
        answer = IntrospectTokenResponse()
        answer.active = bool(read_request(IntrospectTokenRequest).token)
        answer.username = flask.g.user
        return write_response(answer)

    @routes.get(f"/storage/{SLUG}/archive.zip")
    def archive() -> flask.Response:
        return fault_injection.send_file(host.dataset.archive, f"{SLUG}.zip")

    @routes.get(f"/storage/{SLUG}/files/<name>")
    def data_file(name: str) -> flask.Response:
        if name not in SERVED:
            refuse(404, "Not found")
        return fault_injection.send_file(host.dataset.file(name), name)

    return routes


def _list_competitions(host: PracticeCompetition) -> flask.Response:
    request = read_request(types.ApiListCompetitionsRequest)
    answer = types.ApiListCompetitionsResponse()
    found = (request.search or "").lower() in f"{SLUG} {TITLE}".lower()
    answer.competitions = [_competition(host)] if found and (request.page or 1) == 1 else []
    return write_response(answer)


def _get_competition(host: PracticeCompetition) -> flask.Response:
    _check(read_request(types.ApiGetCompetitionRequest))
    return write_response(_competition(host))


def _competition(host: PracticeCompetition) -> Any:
    competition = types.ApiCompetition()
    competition.id = 3486
    competition.ref = competition.url = f"{flask.request.host_url}competitions/{SLUG}"
    competition.title = TITLE
    competition.description = f"Practice: {host.dataset.about}"
    competition.organization_name = competition.host_name = "practice Kaggle"
    competition.category = "Getting Started"
    competition.reward = "Knowledge"
    competition.deadline = to_datetime(4_102_444_800)  # 2100: practice never ends
    competition.user_has_entered = True
    competition.max_daily_submissions = host.daily_limit
    competition.max_team_size = 1
    competition.evaluation_metric = "Root Mean Squared Error"
    competition.team_count = len(host.leaderboard())
    return competition


def _list_data_files(host: PracticeCompetition) -> flask.Response:
    request = read_request(types.ApiListDataFilesRequest)
    _check(request)
    names, token = paginate(SERVED, request)
    answer = types.ApiListDataFilesResponse()
    answer.files = [_data_file(host.dataset.file(name)) for name in names]
    answer.next_page_token = token
    return write_response(answer)


def _data_file(path: Path) -> Any:
    file = types.ApiDataFile()
    file.ref = file.name = path.name
    file.total_bytes = path.stat().st_size
    file.creation_date = to_datetime(path.stat().st_mtime)
    return file


def _download_data_files() -> flask.Response:
    _check(read_request(types.ApiDownloadDataFilesRequest))
    return redirect_to_storage(f"storage/{SLUG}/archive.zip")


def _download_data_file() -> flask.Response:
    request = read_request(types.ApiDownloadDataFileRequest)
    _check(request)
    if request.file_name not in SERVED:
        refuse(404, "Not found")
    return redirect_to_storage(f"storage/{SLUG}/files/{request.file_name}")


def _start_submission_upload(host: PracticeCompetition) -> flask.Response:
    request = read_request(types.ApiStartSubmissionUploadRequest)
    _check(request)
    answer = types.ApiStartSubmissionUploadResponse()
    answer.token = host.store.start_upload(request.file_name, request.content_length)
    answer.create_url = storage.upload_url(answer.token)
    return write_response(answer)


def _create_submission(host: PracticeCompetition) -> flask.Response:
    request = read_request(types.ApiCreateSubmissionRequest)
    _check(request)
    upload = host.store.upload(request.blob_file_tokens)
    if upload is None or not storage.is_complete_upload(upload):
        refuse(400, "The uploaded file was not found or is incomplete")
    message = request.submission_description
    submission = host.submit(flask.g.user, upload.file_name, message, upload.path)
    answer = types.ApiCreateSubmissionResponse()
    answer.message, answer.ref = _accepted(submission), submission.ref
    return write_response(answer)


def _create_code_submission(host: PracticeCompetition) -> flask.Response:
    request = read_request(types.ApiCreateCodeSubmissionRequest)
    _check(request)
    file_name = request.file_name or "submission.csv"
    content = host.kernels.output_file(
        request.kernel_owner, request.kernel_slug, request.kernel_version or None, file_name
    )
    if content is None:
        refuse(404, "Not found: that version of the kernel left no such file")
    message = request.submission_description
    submission = host.submit(flask.g.user, file_name, message, content)
    answer = types.ApiCreateCodeSubmissionResponse()
    answer.message, answer.ref = _accepted(submission), submission.ref
    return write_response(answer)


def _accepted(submission: Submission) -> str:
    remark = f" ({submission.remark})" if submission.remark == NOT_SCORED else ""
    return f"Successfully submitted to {TITLE}{remark}"


def _list_submissions(host: PracticeCompetition) -> flask.Response:
    request = read_request(types.ApiListSubmissionsRequest)
    _check(request)
    mine = host.store.submissions(flask.g.user)
    if request.group.name.endswith("SUCCESSFUL"):
        mine = [one for one in mine if one.status == "complete"]
    if request.sort_by.name.endswith("NAME"):
        mine.sort(key=lambda one: one.file_name)
    elif "SCORE" in request.sort_by.name:
        mine.sort(key=lambda one: (one.public_score is None, one.public_score))
    rows, token = paginate(mine, request)
    answer = types.ApiListSubmissionsResponse()
    answer.submissions = [_submission(one) for one in rows]
    answer.next_page_token = token
    return write_response(answer)


def _get_submission(host: PracticeCompetition) -> flask.Response:
    return write_response(_submission(_mine(host, read_request(types.ApiGetSubmissionRequest).ref)))


def _download_submission(host: PracticeCompetition) -> flask.Response:
    submission = _mine(host, read_request(types.ApiDownloadSubmissionRequest).submission_id)
    path = host.store.submission_file(submission)
    return fault_injection.send_file(path, submission.file_name)


def _mine(host: PracticeCompetition, ref: int) -> Submission:
    submission = host.store.submission(ref)
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
    answer.public_score = _score(submission.public_score)
    answer.private_score = _score(submission.private_score)
    answer.status = _STATUS[submission.status]
    answer.submitted_by = answer.team_name = submission.user
    answer.url = f"{flask.request.host_url}#{submission.ref}"
    return answer


def _get_submission_limits(host: PracticeCompetition) -> flask.Response:
    _check(read_request(types.ApiGetSubmissionLimitsRequest))
    user = flask.g.user
    answer = types.ApiSubmissionLimits()
    answer.num_today = host.store.today(user)
    answer.num_total = len(host.store.submissions(user))
    answer.num_allowed_now = host.left_today(user)
    return write_response(answer)


def _get_leaderboard(host: PracticeCompetition) -> flask.Response:
    request = read_request(types.ApiGetLeaderboardRequest)
    _check(request)
    board = list(enumerate(host.leaderboard(), start=1))
    rows, token = paginate(board, request)
    answer = types.ApiGetLeaderboardResponse()
    answer.submissions = [_leaderboard_row(number, one) for number, one in rows]
    answer.next_page_token = token
    return write_response(answer)


def _leaderboard_row(number: int, standing: LeaderboardEntry) -> Any:
    row = types.ApiLeaderboardSubmission()
    row.team_id = number
    row.team_name = standing.team
    row.submission_date = to_datetime(standing.date)
    row.score = _score(standing.public_score)
    return row


def _download_leaderboard(host: PracticeCompetition) -> flask.Response:
    _check(read_request(types.ApiDownloadLeaderboardRequest))
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(["Rank", "TeamId", "TeamName", "LastSubmissionDate", "Score", "SubmissionCount"])
    for rank, one in enumerate(host.leaderboard(), start=1):
        date = to_datetime(one.date).isoformat(" ", "seconds")
        table.writerow([rank, rank, one.team, date, _score(one.public_score), one.entries])
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{SLUG}-publicleaderboard.csv", text.getvalue())
    return flask.Response(content.getvalue(), mimetype="application/zip")


def _check(request: Any) -> None:
    if request.competition_name != SLUG:
        refuse(404, "Not found")


def _score(score: float | None) -> str:
    return "" if score is None else f"{score:.5f}"
