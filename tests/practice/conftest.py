"""Fixtures of the practice Kaggle's tests."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import SECRET
from official_client import Connect

from fkd_kaggle.practice.server import PracticeKaggle


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Connect:
    """Return a function that gives the official client, unchanged, talking to a practice Kaggle."""

    def connect(kaggle: PracticeKaggle, user: str = "ada") -> Any:
        monkeypatch.setenv("KAGGLE_USERNAME", user)
        monkeypatch.setenv("KAGGLE_KEY", SECRET)
        monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "LOCALHOST")
        from kagglesdk import kaggle_env

        monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.LOCAL, kaggle.url)
        from kaggle.api.kaggle_api_extended import KaggleApi

        api = KaggleApi()
        api.args = ["--local"]
        api.authenticate()
        return api

    return connect
