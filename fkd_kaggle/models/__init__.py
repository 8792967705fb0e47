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

A user's own architecture needs no module here: ``my_net.py:build`` names a function with the
parameters of ``build_model``, in a file that may have the other two functions as well
(``user_code``).

A network knows neither which keypoints it predicts nor how it is trained. The functions below find
an architecture by its name, which has hyphens in place of underscores, and call its functions.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from fkd_kaggle import user_code
from fkd_kaggle.errors import RecipeError, unknown_name
from fkd_kaggle.formatting import first_line
from fkd_kaggle.keypoints import IMAGE_SIZE

if TYPE_CHECKING:
    import keras

    from fkd_kaggle.nn import warp


NAMED_WEIGHTS: Final = ("auto", "imagenet", "none")
"""Values of the option ``weights`` of ``transfer`` that are not the path of a file."""

_NO_CODE: Final[user_code.Code] = {}


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


def architecture_options(architecture: str, code: user_code.Code = _NO_CODE) -> dict[str, str]:
    """Return the options of an architecture: their names and their annotations as text.

    Read from the source, because importing the module would import Keras.

    Parameters
    ----------
    architecture
        One of ``architecture_names()``, or ``FILE.py:FUNCTION``.
    code
        Source files of the user's own architecture, by name.

    Raises
    ------
    RecipeError
        The file does not define the function.
    """
    defined = option_defaults(architecture, code)
    return {option: annotation for option, (annotation, _) in defined.items()}


def option_defaults(
    architecture: str, code: user_code.Code = _NO_CODE
) -> dict[str, tuple[str, str]]:
    """Return annotation and default of each option of an architecture, as source text.

    Parameters and errors are those of ``architecture_options``.
    """
    if user_code.is_reference(architecture):
        return user_code.keyword_options(architecture, code)
    return _shipped_options(architecture)


@cache
def _shipped_options(architecture: str) -> dict[str, tuple[str, str]]:
    file = f"{architecture.replace('-', '_')}.py"
    source = (resources.files(__name__) / file).read_text(encoding="utf-8")
    return user_code.keyword_options(f"{file}:build_model", {file: source})


def build_model(
    architecture: str,
    heads: Sequence[int],
    options: Mapping[str, Any],
    code: user_code.Code = _NO_CODE,
) -> keras.Model:
    """Build the untrained network of an architecture.

    Parameters
    ----------
    architecture
        One of ``architecture_names()``, or ``FILE.py:FUNCTION``.
    heads
        Number of points of each head.
    options
        Options of the architecture that differ from their defaults.
    code
        Source files of the user's own architecture, by name.

    Raises
    ------
    RecipeError
        There is no such architecture, or it does not have such an option or value; or the user's
        own code is not trusted, fails, or builds a network of another shape.
    """
    if user_code.is_reference(architecture):
        return _build_own(architecture, tuple(heads), options, code)
    if architecture not in architecture_names():
        raise RecipeError(unknown_name("architecture", architecture, architecture_names()))
    module = _module(architecture, code)
    accepted = architecture_options(architecture)
    for option in options:
        if option not in accepted:
            raise RecipeError(
                unknown_name(f"option of architecture {architecture}", option, accepted)
            )
    with impossible_options(architecture, options):
        return module.build_model(tuple(heads), **options)


@contextmanager
def impossible_options(architecture: str, options: Mapping[str, Any]) -> Iterator[None]:
    """Raise a RecipeError that names the options instead of an error of Keras.

    Parameters
    ----------
    architecture
        Name of the architecture whose network is built within the context.
    options
        The options that it is built with.
    """
    try:
        yield
    except (ValueError, TypeError) as error:
        settings = ", ".join(f"{option} = {value!r}" for option, value in options.items())
        why = first_line(error)
        raise RecipeError(f"no {architecture} network has {settings}: {why}") from error


def initialize_weights(
    architecture: str,
    network: keras.Model,
    options: Mapping[str, Any],
    code: user_code.Code = _NO_CODE,
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
    code
        Source files of the user's own architecture, by name.

    Raises
    ------
    RecipeError
        The requested weights are not available.
    """
    module = _module(architecture, code)
    if not hasattr(module, "initialize_weights"):
        return InitialWeights()
    return module.initialize_weights(network, options)


def forward_through_views(
    architecture: str, network: keras.Model, code: user_code.Code = _NO_CODE
) -> Callable[[Any, warp.View], dict[str, Any]]:
    """Return the forward pass of training: images and their views → outputs in view pixels.

    The function takes (B, 96, 96, 1) float images in [0, 1] and a ``warp.View`` of them. It returns
    ``points``, (B, P, 2) float32, and ``maps``, (B, H, W, P) float32 logits, if the network has
    heatmaps. An architecture with a function of this name may warp images differently and return
    more outputs (see ``cascade``). ``code`` contains the source files of the user's own
    architecture.
    """
    module = _module(architecture, code)
    if hasattr(module, "forward_through_views"):
        return module.forward_through_views(network)
    if any(layer.name == "frame" for layer in network.layers):
        from fkd_kaggle.models import cascade

        return cascade.forward_through_views(network)
    import keras

    outputs = {"points": network.output}
    if any(layer.name == "maps" for layer in network.layers):
        outputs["maps"] = network.get_layer("maps").output
    model = keras.Model(network.input, outputs)
    return lambda images, view: model(view.warp(images), training=True)


def _build_own(
    architecture: str, heads: tuple[int, ...], options: Mapping[str, Any], code: user_code.Code
) -> keras.Model:
    """Call the user's function and check what it returns."""
    import keras

    function = getattr(_module(architecture, code), architecture.rpartition(":")[2])
    network = user_code.guarded(architecture, function, heads, **options)
    if not isinstance(network, keras.Model):
        raise RecipeError(f"{architecture} must return a keras.Model, not {type(network).__name__}")
    shapes = tuple(network.input_shape), tuple(network.output_shape)
    expected = (None, IMAGE_SIZE, IMAGE_SIZE, 1), (None, sum(heads), 2)
    if shapes != expected:
        raise RecipeError(
            f"{architecture} must map {expected[0]} to {expected[1]} for heads {heads}, "
            f"but maps {shapes[0]} to {shapes[1]}"
        )
    if network.output.dtype != "float32":
        raise RecipeError(
            f"{architecture} predicts in {network.output.dtype}, which rounds to half a pixel: "
            'give its last layers dtype="float32"'
        )
    return network


def _module(architecture: str, code: user_code.Code) -> ModuleType:
    if user_code.is_reference(architecture):
        return user_code.load_module(architecture, code)
    return importlib.import_module(f"{__name__}.{architecture.replace('-', '_')}")
