"""Win Kaggle's Facial Keypoints Detection from the command line or from Python.

    import fkd_kaggle as fkd

    faces = fkd.load_faces("data")
    model = fkd.train(faces, recipe="quick", time_limit="20m")
    points = model.predict(faces.images[:12])
    fkd.draw(faces.images[:12], points)

The names of the public API are imported on first use, so that ``import fkd_kaggle`` loads neither
NumPy nor TensorFlow.
"""

from __future__ import annotations

import importlib
from typing import Any

_MODULES = {
    "FaceSet": "faces",
    "KeypointRegressor": "estimator",
    "Model": "model",
    "draw": "drawing",
    "load": "model",
    "load_faces": "faces",
    "make_faces": "faces",
    "train": "training",
}
"""The module of ``fkd_kaggle.api`` in which each public name is defined."""

__all__ = [
    "FaceSet",
    "KeypointRegressor",
    "Model",
    "__version__",
    "draw",
    "load",
    "load_faces",
    "make_faces",
    "train",
]


def __getattr__(name: str) -> Any:
    """Import a name of the public API."""
    # The modules are named by strings, because packages below `api` may not import it.
    if name in _MODULES:
        value = getattr(importlib.import_module(f"fkd_kaggle.api.{_MODULES[name]}"), name)
    elif name == "__version__":
        value = importlib.import_module("fkd_kaggle.settings").__version__
    else:
        raise AttributeError(f"module 'fkd_kaggle' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names, for completion in notebooks."""
    return sorted({*globals(), *__all__})
