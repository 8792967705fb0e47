"""Settings of Keras that other projects leave behind neither change nor break this package."""

from __future__ import annotations

import importlib
import json
import os
import platform
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from fkd_kaggle.nn import keras_settings


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder, and no variables of Keras; they are restored after the test."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("KERAS_HOME", "KERAS_BACKEND", "TF_USE_LEGACY_KERAS", "KERAS_MAX_EPOCHS"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return tmp_path


def notes() -> list[str]:
    """Prepare the environment and return the notes."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        keras_settings.prepare()
    return [str(one.message) for one in caught]


@pytest.mark.parametrize("backend", ["torch", "theano", "numpy", "openvino", "no such backend"])
def test_unsupported_backend_is_replaced(
    home: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", backend)
    (note,) = notes()
    assert f"KERAS_BACKEND={backend} is not supported: tensorflow is used" in note
    assert os.environ["KERAS_BACKEND"] == "tensorflow"


@pytest.mark.parametrize("backend", ["", "TensorFlow", " tensorflow "])
def test_default_backend_needs_no_note(
    home: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", backend)
    assert notes() == []
    assert os.environ["KERAS_BACKEND"] == "tensorflow"


@pytest.mark.parametrize(
    ("machine", "chosen", "used"),
    [("x86_64", None, "1"), ("AMD64", None, "1"), ("x86_64", "0", "0"), ("arm64", None, None)],
)
def test_onednn_is_used_on_x86_unless_the_user_chose(
    monkeypatch: pytest.MonkeyPatch, machine: str, chosen: str | None, used: str | None
) -> None:
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", chosen or "")
    if chosen is None:
        monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS")
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(importlib, "import_module", lambda name: None)
    keras_settings.import_keras()
    assert os.environ.get("TF_ENABLE_ONEDNN_OPTS") == used


def test_variables_of_other_projects_are_removed(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TF_USE_LEGACY_KERAS", "1")
    monkeypatch.setenv("KERAS_MAX_EPOCHS", "many")
    assert notes() == []
    assert "TF_USE_LEGACY_KERAS" not in os.environ
    assert "KERAS_MAX_EPOCHS" not in os.environ


@pytest.mark.parametrize(
    ("content", "is_used"),
    [
        ('{"image_data_format": "channels_first", "floatx": "float64"}', True),
        ("not JSON, which Keras ignores", True),
        ("[1]", False),
        ('{"floatx": "bfloat16"}', False),
        ('{"epsilon": 1}', False),
        ('{"image_data_format": "tf"}', False),
        ("[" * 100_000, False),
    ],
    ids=lambda value: str(value)[:30],
)
def test_keras_json_that_breaks_the_import_is_not_used(
    home: Path, content: str, is_used: bool
) -> None:
    (home / ".keras").mkdir()
    (home / ".keras" / "keras.json").write_text(content)
    found = notes()
    assert len(found) == (0 if is_used else 1)
    assert ("KERAS_HOME" in os.environ) != is_used
    if found:
        assert "keras.json" in found[0]


@pytest.mark.slow
def test_network_is_built_as_without_keras_json(tmp_path: Path) -> None:
    (tmp_path / ".keras").mkdir()
    values = {"backend": "theano", "image_data_format": "channels_first", "floatx": "float16"}
    (tmp_path / ".keras" / "keras.json").write_text(json.dumps(values))
    code = (
        "from fkd_kaggle.nn import backend; backend.use_default_backend()\n"
        "backend.start_keras('float32')\n"
        "import keras\n"
        "print(keras.backend.backend(), keras.config.image_data_format(), keras.config.floatx())\n"
        "print(keras.layers.Conv2D(3, 3)(keras.ops.zeros((1, 8, 8, 2))).shape)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "HOME": str(tmp_path), "KERAS_BACKEND": "", "TF_USE_LEGACY_KERAS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout == "tensorflow channels_last float32\n(1, 6, 6, 3)\n"


@pytest.mark.slow
@pytest.mark.parametrize(("claim", "imported"), [("", True), ("claim_process()", False)])
def test_commands_import_keras_without_scikit_learn(claim: str, imported: bool) -> None:
    lines = [
        "import sys",
        "from fkd_kaggle.nn.keras_settings import claim_process, import_keras",
        claim,
        "import_keras()",
        f"assert ('sklearn' in sys.modules) == {imported}",
        "import sklearn.linear_model, keras",
        "assert keras.layers.Dense(1)",
    ]
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True)
