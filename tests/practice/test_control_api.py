"""The JSON routes that control a practice Kaggle."""

from __future__ import annotations

import requests
from official_client import Connect, refusal

from fkd_kaggle.practice.dataset import SLUG
from fkd_kaggle.practice.server import PracticeKaggle


def test_faults_are_set_and_cleared_by_json_requests_only(
    practice: PracticeKaggle, connect: Connect
) -> None:
    url, api = f"{practice.url}/practice/faults", connect(practice)
    assert requests.post(url, json={"fault": "rules"}, timeout=10).json() == ["403"]
    assert "accept this competition's rules" in str(
        refusal(lambda: api.competition_list_files(SLUG))
    )
    assert requests.delete(url, timeout=10).json() == []
    assert api.competition_list_files(SLUG).files
    assert requests.post(url, data='{"fault": "500"}', timeout=10).status_code == 400
    unknown = requests.post(url, json={"fault": "truncate"}, timeout=10)
    assert "did you mean 'truncated'?" in unknown.json()["message"]
