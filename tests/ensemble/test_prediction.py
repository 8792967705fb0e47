"""Predictions of a run: when its blend is used and when the run is blended again."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fkd_kaggle.ensemble import prediction


def test_a_stored_blend_is_kept_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel has no time to blend again after its time limit."""
    blended: list[str] = []
    run = SimpleNamespace(check_data=lambda fingerprint: None, status="time limit")
    blend = SimpleNamespace(members=())
    points = np.zeros((1, 15, 2), np.float32)
    for name, value in {
        "usable_members": lambda run: [],
        "has_blend": lambda run: True,
        "is_blend_current": lambda run: False,
        "blend_run": lambda run, data_dir, status: blended.append(status),
        "load_run_blend": lambda run, members: blend,
        "predict_with_members": lambda *arguments: points,
        "_apply": lambda run, blend, predictions, annotators: predictions,
        "dataset": SimpleNamespace(fingerprint=lambda data_dir: ""),
    }.items():
        monkeypatch.setattr(prediction, name, value)
    predict: Any = prediction.predict_run
    assert predict(run, Path(), None, np.zeros(1, np.uint8), reblend=False) is points
    assert blended == []
    assert predict(run, Path(), None, np.zeros(1, np.uint8)) is points
    assert blended == ["time limit"]
