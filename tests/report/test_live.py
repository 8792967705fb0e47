"""The page of a training under way: its data, its address, other hosts."""

from __future__ import annotations

import pytest
import requests

from fkd_kaggle.report.live import serve_live_page
from fkd_kaggle.runs.folder import Run
from fkd_kaggle.training.events import EpochEnded, MemberEnded, MemberFailed, StepEnded


@pytest.mark.slow
def test_the_page_shows_the_training(report_run: Run) -> None:
    name, other, third = (member.name for member in report_run.plan.members[:3])
    with serve_live_page(report_run) as live:
        assert live.url.startswith("http://127.0.0.1:")
        live.on_event(StepEnded(name, 3, 5, 10, 1.5, 300.0, 42.0))
        live.on_event(EpochEnded(other, 2, 60, 1.0, 2.0, 1.75, 0.001, 300.0, 1.0, 9.0))
        live.on_event(MemberEnded(other, 1.5, 60.0, "time limit"))
        live.on_event(MemberFailed(third, "<b>no memory</b>"))
        page = requests.get(live.url, timeout=10)
        data = requests.get(f"{live.url}data.json", timeout=10).json()
        members = {one["name"]: one for one in data["members"]}
        assert members[name]["epoch"] == 2.5
        assert members[name]["left"] == 42.0
        assert (members[other]["rmse"], members[other]["state"]) == (1.5, "time limit")
        assert "no memory" in members[third]["state"]
        assert len(data["curves"]) == 8
        assert "report" not in data  # a report there is one of an earlier training
        assert "connect-src &#39;self&#39;" in page.text
        assert report_run.name in page.text
    try:
        requests.get(live.url, timeout=2)
    except requests.ConnectionError:
        return
    raise AssertionError("the server still answers")


@pytest.mark.slow
def test_other_host_names_are_refused(report_run: Run) -> None:
    with serve_live_page(report_run) as live:
        answer = requests.get(live.url, headers={"Host": "evil.example"}, timeout=10)
    assert answer.status_code == 403
