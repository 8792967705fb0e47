"""Network architectures, one a module, found by the module's name.

Each module has ``build(heads, **options) -> keras.Model``: (B, 96, 96, 1) float images in [0, 1]
→ (B, sum(heads), 2) float32 points in pixels. ``heads`` says how many points each annotation
source's output answers for. A network knows neither which keypoints those are nor how it is
trained.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import ModuleType
from typing import TYPE_CHECKING, Any

from fkd_kaggle.errors import RecipeError, unknown_name

if TYPE_CHECKING:
    import keras

    from fkd_kaggle.nn import warp


@dataclass(frozen=True)
class InitialWeights:
    """What a network begins its training with."""

    about: str = ""
    """In words, for architectures that can begin with trained weights."""
    random: bool = False
    """Such an architecture begins with random ones and will take longer."""


def architecture_names() -> list[str]:
    """Return the architectures that can be named in a recipe."""
    return sorted(
        module.name.replace("_", "-")
        for module in pkgutil.iter_modules(__path__)
        if not module.name.startswith("_")
    )


@cache
def architecture_options(architecture: str) -> dict[str, str]:
    """Return the keyword arguments of an architecture's ``build`` and their types as written.

    Read from its source: importing it would start Keras, seconds before anybody needs it.
    """
    source = resources.files(__name__) / f"{architecture.replace('-', '_')}.py"
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name == "build":
            return {
                argument.arg: ast.unparse(argument.annotation) if argument.annotation else ""
                for argument in node.args.kwonlyargs
            }
    raise RecipeError(f"architecture {architecture} has no build function")


def build_model(architecture: str, heads: Sequence[int], chosen: Mapping[str, Any]) -> keras.Model:
    """Build the named architecture with the ``chosen`` ones of its options.

    Raises
    ------
    RecipeError
        There is no such architecture, it has no such option, or not with this value.
    """
    if architecture not in architecture_names():
        raise RecipeError(unknown_name("architecture", architecture, architecture_names()))
    module = _module(architecture)
    accepted = architecture_options(architecture)
    for option in chosen:
        if option not in accepted:
            raise RecipeError(
                unknown_name(f"option of architecture {architecture}", option, accepted)
            )
    try:
        return module.build(tuple(heads), **chosen)
    except (ValueError, TypeError) as error:
        settings = ", ".join(f"{option} = {value!r}" for option, value in chosen.items())
        why = str(error).strip().partition("\n")[0]
        raise RecipeError(f"no {architecture} network has {settings}: {why}") from error


def initialize_weights(
    architecture: str, network: keras.Model, chosen: Mapping[str, Any]
) -> InitialWeights:
    """Give a network that is about to be trained the weights it begins with, if not random ones.

    For architectures whose module has an ``initialise(network, options)``. Not called where a
    trained network is loaded.

    Raises
    ------
    RecipeError
        The weights that were asked for cannot be had.
    """
    module = _module(architecture)
    if not hasattr(module, "initialise"):
        return InitialWeights()
    return module.initialise(network, chosen)


def through_views(
    architecture: str, network: keras.Model
) -> Callable[[Any, warp.View], dict[str, Any]]:
    """Return what a network answers in training about (B, 96, 96, 1) images that views look at.

    Of images and their views it makes ``points`` in view pixels and, where the network has them,
    ``maps`` (see ``losses.map_loss``). An architecture whose module has ``through_views(network)``
    looks in its own way, and may answer more.
    """
    module = _module(architecture)
    if hasattr(module, "through_views"):
        return module.through_views(network)
    import keras

    outputs = {"points": network.output}
    if any(layer.name == "maps" for layer in network.layers):
        outputs["maps"] = network.get_layer("maps").output
    both = keras.Model(network.input, outputs)
    return lambda images, view: both(view.warp(images), training=True)


def _module(architecture: str) -> ModuleType:
    return importlib.import_module(f"{__name__}.{architecture.replace('-', '_')}")
