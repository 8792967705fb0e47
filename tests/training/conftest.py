"""Fixtures of the tests of training."""

from __future__ import annotations

import keras
import pytest


@pytest.fixture(autouse=True)
def float32() -> None:
    keras.config.set_dtype_policy("float32")
