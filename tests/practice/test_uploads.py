"""Uploads of submissions, which the client resumes after a lost connection."""

from __future__ import annotations

from pathlib import Path

import requests
from conftest import SECRET
from official_client import Connect

from fkd_kaggle.kaggle_api.competition import Competition
from fkd_kaggle.practice.dataset import SLUG
from fkd_kaggle.practice.server import PracticeKaggle


def test_a_cut_upload_is_resumed_before_it_is_submitted(
    practice: PracticeKaggle, connect: Connect, solution_csv: Path
) -> None:
    practice.faults.add("cut-upload:after=300")
    competition = Competition.open()
    record = competition.wait_for_score(competition.submit(solution_csv, "after a cut"))
    assert record.public_score == 0.0
    assert len(competition.submissions()) == 1


def test_an_upload_continues_after_the_received_bytes(practice: PracticeKaggle) -> None:
    url = f"{practice.url}/api/v1/competitions.CompetitionApiService"
    user = ("ada", SECRET)
    start = {"competitionName": SLUG, "fileName": "a.csv", "contentLength": 10}
    upload = requests.post(f"{url}/StartSubmissionUpload", json=start, auth=user, timeout=10).json()
    headers = {"Content-Range": "bytes 0-3/10"}
    part = requests.put(upload["createUrl"], data=b"RowI", headers=headers, timeout=10)
    assert (part.status_code, part.headers["Range"]) == (308, "bytes=0-3")
    create = {"competitionName": SLUG, "blobFileTokens": upload["token"]}
    early = requests.post(f"{url}/CreateSubmission", json=create, auth=user, timeout=10)
    assert early.status_code == 400
    headers = {"Content-Range": "bytes 4-9/10"}
    assert requests.put(upload["createUrl"], data=b"d,Loca", headers=headers, timeout=10).ok
    assert requests.post(f"{url}/CreateSubmission", json=create, auth=user, timeout=10).ok
