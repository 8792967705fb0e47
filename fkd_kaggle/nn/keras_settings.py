"""Settings of Keras that other projects leave on a machine: environment variables and keras.json.

:func:`prepare` changes the environment before Keras is imported, :func:`apply` sets what this
package needs afterwards. Neither changes a file. :func:`import_keras` imports Keras.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import platform
import sys
import warnings
from pathlib import Path
from typing import Any, Final

from fkd_kaggle.errors import FkdError, NoteWarning

BACKENDS: Final = ("tensorflow", "jax")
"""Backends of Keras that this package supports; the first one is the default."""

_BACKEND: Final = "KERAS_BACKEND"

_REMOVED: Final = (
    # tf.keras would be Keras 2, which the face detector cannot use.
    "TF_USE_LEGACY_KERAS",
    # These would end each training early without a word.
    "KERAS_MAX_EPOCHS",
    "KERAS_MAX_STEPS_PER_EPOCH",
    "KERAS_NNX_ENABLED",
)


_ONEDNN: Final = "TF_ENABLE_ONEDNN_OPTS"
"""TensorFlow uses oneDNN's convolutions by default only on CPUs with instructions for networks,
such as AVX-512 VNNI. With AVX2 alone they make a training 1.36 times as fast
(docs/experiments.md)."""

_X86: Final = ("x86_64", "amd64")

_UNUSED: Final = "sklearn"
"""Library that Keras imports, if it is installed, for wrappers that this package does not use. It
takes a fifth of the processor time of importing Keras and TensorFlow (0.9 of 4.4 s)."""

_is_own_process = False


def claim_process() -> None:
    """Allow ``import_keras`` to leave out parts of Keras that this package does not use.

    For commands and workers; a notebook may use these parts itself.
    """
    global _is_own_process
    _is_own_process = True


def import_keras() -> None:
    """Import Keras; in a process of this package without its wrappers for scikit-learn.

    scikit-learn itself can be imported afterwards. On x86 CPUs TensorFlow is told to use oneDNN,
    unless the user has set ``TF_ENABLE_ONEDNN_OPTS``. Child processes inherit this.
    """
    if platform.machine().lower() in _X86:
        os.environ.setdefault(_ONEDNN, "1")  # read when TensorFlow is imported
    if not _is_own_process or _UNUSED in sys.modules:
        importlib.import_module("keras")
        return
    sys.modules[_UNUSED] = None  # type: ignore[assignment]  # an import raises ImportError
    try:
        importlib.import_module("keras")
    finally:
        del sys.modules[_UNUSED]


def prepare() -> None:
    """Choose the backend and ignore settings of other projects; a note names what is not used.

    Must be called before Keras is imported; has no effect afterwards. Child processes inherit the
    environment.
    """
    # TensorFlow reads this variable when it is imported. Level 3 hides start-up messages.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for name in _REMOVED:
        os.environ.pop(name, None)
    backend = (os.environ.get(_BACKEND) or BACKENDS[0]).strip().lower()
    problem = _problem_of(backend)
    if problem:
        _note(f"{_BACKEND}={backend} {problem}: {BACKENDS[0]} is used")
        backend = BACKENDS[0]
    os.environ[_BACKEND] = backend
    path = _config_file()
    problem = _problem_of_file(path)
    if problem:
        _note(f"{path} {problem} and is not used: correct or delete it")
        os.environ["KERAS_HOME"] = str(path.parent.parent / ".cache" / "fkd-kaggle" / "keras")


def apply() -> None:
    """Set image format and number format of Keras, which keras.json can change.

    Raises
    ------
    FkdError
        Keras was imported with a backend that is not supported, as in a notebook.
    """
    import keras

    if keras.backend.backend() not in BACKENDS:
        raise FkdError(
            f"Keras runs on {keras.backend.backend()} in this process: set {_BACKEND}="
            f"{BACKENDS[0]} before Keras is imported"
        )
    keras.config.set_image_data_format("channels_last")
    keras.config.set_floatx("float32")
    keras.config.set_epsilon(1e-7)


def keras_home() -> Path:
    """Return the folder of Keras' settings and downloads, as Keras finds it."""
    home = os.environ.get("KERAS_HOME")
    if home is None:
        try:
            base = Path.home()
        except RuntimeError:  # no home folder
            base = Path("/")
        home = str((base if os.access(base, os.W_OK) else Path("/tmp")) / ".keras")
    return Path(home).expanduser()


def _problem_of(backend: str) -> str:
    """Return why a backend cannot be used; empty if it can."""
    if backend not in BACKENDS:
        return "is not supported"
    if backend != BACKENDS[0] and importlib.util.find_spec(backend) is None:
        return "is not installed"
    return ""


def _config_file() -> Path:
    """Return the path of keras.json, as Keras finds it."""
    return keras_home() / "keras.json"


def _problem_of_file(path: Path) -> str:
    """Return why importing Keras would fail because of keras.json; empty if it would not."""
    try:
        text = path.read_text()
        values: Any = json.loads(text)
    except (FileNotFoundError, ValueError):
        return ""  # Keras ignores it, too
    except (OSError, RecursionError):
        return "cannot be read"
    if not isinstance(values, dict):
        return "is not a JSON object"
    valid = (
        values.get("floatx", "float32") in ("float16", "float32", "float64")
        and isinstance(values.get("epsilon", 1e-7), float)
        and values.get("image_data_format", "channels_last") in ("channels_last", "channels_first")
    )
    return "" if valid else "has a value that Keras does not accept"


def _note(text: str) -> None:
    warnings.warn(text, NoteWarning, stacklevel=3)
