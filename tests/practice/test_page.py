"""The page for people."""

from __future__ import annotations

from pathlib import Path

import requests
from official_client import Connect

from fkd_kaggle.practice.dataset import SLUG
from fkd_kaggle.practice.server import PracticeKaggle


def test_the_page_shows_everything_escaped_and_loads_nothing(
    practice: PracticeKaggle, connect: Connect, solution_csv: Path
) -> None:
    api = connect(practice, "<b>ada</b>")
    api.competition_submit(str(solution_csv), "<script>alert(1)</script>", SLUG, quiet=True)
    practice.faults.add("404:path=<i>")
    page = requests.get(practice.url, timeout=10).text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    for raw in ("<script", "<b>ada", "<i>", "src=", "http://", "https://"):
        assert raw not in page
    assert "column means (house)" in page
    assert "0.00000" in page
