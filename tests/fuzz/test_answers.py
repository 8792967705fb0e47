"""Fuzz test of Kaggle's answers: any JSON value, in any place, is read or gives one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fake_kaggle import FakeKaggle
from hypothesis import given
from hypothesis import strategies as st
from kaggle_api.conftest import fake_kaggle, no_credentials
from kaggle_api.test_answers import ANSWERS, calls, one_line_or_success, session
from mutations import Budget, edits, fuzz, json_values, mutate

from fkd_kaggle.kaggle_api.competition import Competition

pytestmark = pytest.mark.slow

__all__ = ["fake_kaggle", "no_credentials", "session"]  # fixtures

METHODS = ("submissions", "left", "leaderboard", "status", "stored", "log", "hours")


def test_changed_answers(session: Competition, fake_kaggle: FakeKaggle, tmp_path: Path) -> None:
    budget = Budget(6)
    methods = calls(session, tmp_path)
    answers = sorted(ANSWERS)

    @fuzz(150)
    @given(st.sampled_from(answers), st.sampled_from(METHODS), st.one_of(edits(), json_values()))
    def check(answer: str, method: str, change: Any) -> None:
        if budget.is_spent:
            return
        text = json.dumps(ANSWERS[answer]).encode()
        is_edit = isinstance(change, list) and change and isinstance(change[0], tuple)
        fake_kaggle.answers = {**ANSWERS, answer: mutate(text, change) if is_edit else change}
        one_line_or_success(methods[method])

    check()
