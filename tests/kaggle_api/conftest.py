"""Fixtures of a server in place of Kaggle itself."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_kaggle import FakeKaggle


@pytest.fixture
def no_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder and no credentials in the environment; returns the home folder."""
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    monkeypatch.setenv("HOME", str(home))
    for name in ("USERNAME", "KEY", "API_TOKEN", "CONFIG_DIR", "API_ENVIRONMENT", "API_V1_TOKEN"):
        monkeypatch.delenv(f"KAGGLE_{name}", raising=False)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return home


@pytest.fixture
def fake_kaggle(no_credentials: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeKaggle]:
    """A server that the official client takes for Kaggle itself."""
    from kagglesdk import kaggle_env

    fake = FakeKaggle()
    threading.Thread(target=fake.server.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, fake.url)
    yield fake
    fake.server.shutdown()
    fake.server.server_close()
