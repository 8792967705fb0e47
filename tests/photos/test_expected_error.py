"""The calibration of a run that an earlier version trained."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fkd_kaggle.data import dataset
from fkd_kaggle.errors import FkdError
from fkd_kaggle.photos import expected_error


def test_the_calibration_is_used_also_if_the_run_is_read_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any) -> None:
        raise FkdError("cannot write calibration.json: Read-only file system")

    measured = object()
    monkeypatch.setattr(expected_error, "load_calibration", lambda run: None)
    monkeypatch.setattr(expected_error, "measure_calibration", lambda *arguments: measured)
    monkeypatch.setattr(expected_error, "store_calibration", refuse)
    monkeypatch.setattr(dataset, "fingerprint", lambda folder: "0" * 32)
    predictor: Any = SimpleNamespace(run=SimpleNamespace(check_data=lambda fingerprint: None))
    assert expected_error.find_calibration(predictor, tmp_path) is measured
