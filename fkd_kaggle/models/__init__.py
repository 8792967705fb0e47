"""Network architectures, one a module, found by the module's name.

Each module has ``build(heads, **options) -> keras.Model``: (B, 96, 96, 1) float images in [0, 1]
→ (B, sum(heads), 2) float32 points in pixels. ``heads`` says how many points each annotation
source's output answers for. A network knows neither which keypoints those are nor how it is
trained.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fkd_kaggle.errors import RecipeError, unknown

if TYPE_CHECKING:
    import keras


def names() -> list[str]:
    """Return the architectures that can be named in a recipe."""
    return sorted(
        module.name.replace("_", "-")
        for module in pkgutil.iter_modules(__path__)
        if not module.name.startswith("_")
    )


def build(architecture: str, heads: Sequence[int], options: Mapping[str, Any]) -> keras.Model:
    """Build the named architecture.

    Raises
    ------
    RecipeError
        There is no such architecture, or it has no such option.
    """
    if architecture not in names():
        raise RecipeError(unknown("architecture", architecture, names()))
    module = importlib.import_module(f"{__name__}.{architecture.replace('-', '_')}")
    accepted = [name for name in inspect.signature(module.build).parameters if name != "heads"]
    for option in options:
        if option not in accepted:
            raise RecipeError(unknown(f"option of architecture {architecture}", option, accepted))
    return module.build(tuple(heads), **options)
