"""A network from Keras Applications with a small head: transfer learning, as for FFHQ photos.

Backbone → global average pooling → dense 128 ReLU → dropout 0.3 → linear coordinates. Built twice
from the same parts: for the competition's grey faces, which are enlarged to the backbone's size and
repeated for its three channels, and for colour photos with any number of points.

Where the backbone's weights come from is ``initialise``'s business, and only a new training calls
it: a trained network is loaded without asking anybody for ImageNet's.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
from keras import layers

from fkd_kaggle.errors import RecipeError, unknown_name
from fkd_kaggle.keypoints import IMAGE_SIZE
from fkd_kaggle.models import InitialWeights
from fkd_kaggle.nn.regression import regression_head

BACKBONES = ("mobilenet-v2", "efficientnet-v2-b0")
"""Sandler et al. 2018; Tan and Le 2021."""

SIDE = 128


def build(
    heads: tuple[int, ...],
    *,
    backbone: str = "mobilenet-v2",
    weights: str = "auto",
    side: int = SIDE,
    dense: int = 128,
    dropout: float = 0.3,
    target_scale: str = "auto",
) -> keras.Model:
    """Return a network (B, 96, 96, 1) → (B, sum(heads), 2) float32, points in pixels.

    Parameters
    ----------
    backbone
        One of ``BACKBONES``.
    weights
        For ``initialise``: "imagenet", "none", the path of a .weights.h5 or .h5 file, or "auto",
        ImageNet's where they can be had.
    side
        Height and width the backbone sees.
    dense
        Units of the ReLU layer.
    dropout
        Share of that layer dropped in training.
    """
    image = keras.Input((IMAGE_SIZE, IMAGE_SIZE, 1), name="image")
    x = layers.Resizing(side, side, interpolation="bilinear", name="enlarged")(image)
    x = layers.Concatenate(name="colours")([x, x, x])
    x = _features(x, backbone, side, dense, dropout)
    return keras.Model(image, regression_head(x, heads, target_scale), name="transfer")


def build_for_photos(
    points: int,
    *,
    backbone: str = "mobilenet-v2",
    weights: str = "auto",
    side: int = SIDE,
    dense: int = 128,
    dropout: float = 0.3,
) -> keras.Model:
    """Return a network (B, side, side, 3) in [0, 1] → (B, points, 2) float32 shares of the side.

    The options are those of ``build``.
    """
    photo = keras.Input((side, side, 3), name="photo")
    x = _features(photo, backbone, side, dense, dropout)
    x = layers.Dense(2 * points, dtype="float32", name="coordinates")(x)
    x = layers.Reshape((points, 2), dtype="float32", name="points")(x)
    return keras.Model(photo, x, name="transfer")


def initialise(network: keras.Model, options: Mapping[str, Any]) -> InitialWeights:
    """Give a new network's backbone its weights and say where they come from.

    Raises
    ------
    RecipeError
        The file is missing or fits another backbone, or ImageNet's weights were asked for by name
        and cannot be had.
    """
    wanted = options.get("weights", "auto")
    name = options.get("backbone", BACKBONES[0])
    backbone = next(layer for layer in network.layers if isinstance(layer, keras.Model))
    if wanted == "none":
        return InitialWeights("random, as asked for", random=True)
    if wanted in ("auto", "imagenet"):
        try:
            # Keras prints the address and a progress bar.
            with contextlib.redirect_stdout(io.StringIO()):
                trained = _backbone(name, options.get("side", SIDE), "imagenet")
        # Keras raises a bare Exception where a download fails.
        except Exception as error:
            why = str(error).strip().rpartition(" -- ")[2]
            if wanted == "imagenet":
                raise RecipeError(
                    f"ImageNet's weights for {name} cannot be had ({why}): "
                    "set options.weights to a file of them, or to 'none'"
                ) from error
            return InitialWeights(f"random: ImageNet's cannot be had here ({why})", random=True)
        backbone.set_weights(trained.get_weights())
        return InitialWeights("ImageNet's")
    _load_file(backbone, Path(wanted))
    return InitialWeights(f"from {wanted}")


def _features(x: Any, backbone: str, side: int, dense: int, dropout: float) -> Any:
    """Return (B, dense) features of (B, side, side, 3) images in [0, 1]."""
    if backbone == "mobilenet-v2":
        x = layers.Rescaling(2.0, -1.0, name="to_backbone")(x)
    else:
        x = layers.Rescaling(255.0, name="to_backbone")(x)
    x = _backbone(backbone, side, None)(x)
    x = layers.GlobalAveragePooling2D(name="pooled")(x)
    x = layers.Dense(dense, activation="relu", name="dense")(x)
    return layers.Dropout(dropout)(x)


def _backbone(name: str, side: int, weights: str | None) -> keras.Model:
    if name not in BACKBONES:
        raise RecipeError(unknown_name("backbone", name, BACKBONES))
    if side < 32:
        raise RecipeError(f"side must be 32 or more for {name}, not {side}")
    make = {
        "mobilenet-v2": keras.applications.MobileNetV2,
        "efficientnet-v2-b0": keras.applications.EfficientNetV2B0,
    }[name]
    backbone = make(input_shape=(side, side, 3), include_top=False, weights=weights)
    for layer in backbone.layers:
        if isinstance(layer, layers.BatchNormalization):
            # Keras' 0.999 and 0.99 need thousands of steps to follow new images; validation would
            # see statistics of weights long gone.
            layer.momentum = 0.9
    return backbone


def _load_file(backbone: keras.Model, path: Path) -> None:
    if not path.is_file():
        raise RecipeError(
            f"options.weights: there is no file {path}; known besides: 'auto', 'imagenet', 'none'"
        )
    try:
        backbone.load_weights(path)
    except (OSError, ValueError, KeyError) as error:
        why = str(error).strip().partition("\n")[0]
        raise RecipeError(f"{path} holds no weights of {backbone.name}: {why}") from error
