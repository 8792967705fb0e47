"""Network architectures, one in each module, named after the module.

To add an architecture, add a module to this folder. It has the function

``build_model(heads, *, option=default, ...) -> keras.Model``
    Build an untrained network: (B, 96, 96, 1) float images in [0, 1] → (B, sum(heads), 2) float32
    points in pixels. ``heads`` is the number of points of each head, one head for each annotator or
    a single one. Keyword-only arguments are the options that recipes can set; their annotations and
    defaults are read from the source. A network with heatmaps has a layer ``maps``.

and may have the functions

``initialize_weights(network, options) -> InitialWeights``
    Load pretrained weights into a network that is about to be trained.
``forward_through_views(network) -> function``
    Replace the default of the function of the same name below.

A network knows neither which keypoints it predicts nor how it is trained. The functions below find
an architecture by its name, which has hyphens in place of underscores, and call its functions.
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
    """The weights that a network starts training with."""

    description: str = ""
    """Where they come from; empty for architectures that always start with random weights."""
    random: bool = False
    """Whether an architecture that can start with pretrained weights starts with random ones, and
    therefore needs more epochs."""


def architecture_names() -> list[str]:
    """Return the names of the architectures, sorted."""
    return sorted(
        module.name.replace("_", "-")
        for module in pkgutil.iter_modules(__path__)
        if not module.name.startswith("_")
    )


@cache
def architecture_options(architecture: str) -> dict[str, str]:
    """Return the options of an architecture: their names and their annotations as text.

    Read from the source, because importing the module would import Keras.

    Raises
    ------
    RecipeError
        The module has no function ``build_model``.
    """
    source = resources.files(__name__) / f"{architecture.replace('-', '_')}.py"
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name == "build_model":
            return {
                argument.arg: ast.unparse(argument.annotation) if argument.annotation else ""
                for argument in node.args.kwonlyargs
            }
    raise RecipeError(f"architecture {architecture} has no function build_model")


def build_model(architecture: str, heads: Sequence[int], options: Mapping[str, Any]) -> keras.Model:
    """Build the untrained network of an architecture.

    Parameters
    ----------
    architecture
        One of ``architecture_names()``.
    heads
        Number of points of each head.
    options
        Options of the architecture that differ from their defaults.

    Raises
    ------
    RecipeError
        There is no such architecture, or it does not have such an option or value.
    """
    if architecture not in architecture_names():
        raise RecipeError(unknown_name("architecture", architecture, architecture_names()))
    module = _module(architecture)
    accepted = architecture_options(architecture)
    for option in options:
        if option not in accepted:
            raise RecipeError(
                unknown_name(f"option of architecture {architecture}", option, accepted)
            )
    try:
        return module.build_model(tuple(heads), **options)
    except (ValueError, TypeError) as error:
        settings = ", ".join(f"{option} = {value!r}" for option, value in options.items())
        why = str(error).strip().partition("\n")[0]
        raise RecipeError(f"no {architecture} network has {settings}: {why}") from error


def initialize_weights(
    architecture: str, network: keras.Model, options: Mapping[str, Any]
) -> InitialWeights:
    """Load pretrained weights into a new network, if its architecture has any.

    Not called for networks that are loaded after training.

    Parameters
    ----------
    architecture
        One of ``architecture_names()``.
    network
        The network, from ``build_model``; changed in place.
    options
        The options that it was built with.

    Raises
    ------
    RecipeError
        The requested weights are not available.
    """
    module = _module(architecture)
    if not hasattr(module, "initialize_weights"):
        return InitialWeights()
    return module.initialize_weights(network, options)


def forward_through_views(
    architecture: str, network: keras.Model
) -> Callable[[Any, warp.View], dict[str, Any]]:
    """Return the forward pass of training: images and their views → outputs in view pixels.

    The function takes (B, 96, 96, 1) float images in [0, 1] and a ``warp.View`` of them. It returns
    ``points``, (B, P, 2) float32, and ``maps``, (B, H, W, P) float32 logits, if the network has
    heatmaps. An architecture with a function of this name may warp images differently and return
    more outputs (see ``cascade``).
    """
    module = _module(architecture)
    if hasattr(module, "forward_through_views"):
        return module.forward_through_views(network)
    import keras

    outputs = {"points": network.output}
    if any(layer.name == "maps" for layer in network.layers):
        outputs["maps"] = network.get_layer("maps").output
    model = keras.Model(network.input, outputs)
    return lambda images, view: model(view.warp(images), training=True)


def _module(architecture: str) -> ModuleType:
    return importlib.import_module(f"{__name__}.{architecture.replace('-', '_')}")
