"""Transfer learning: a pretrained network from Keras Applications with a small head.

Backbone → global average pooling → dense 128 ReLU → dropout 0.3 → linear coordinates. There are two
variants: one for the competition's grey faces, which are resized to the backbone's input size and
repeated for its three channels, and one for colour photos with any number of points.

Only a new training loads pretrained weights (``initialize_weights``); loading a trained network
needs no download.
"""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import keras
from keras import layers

from fkd_kaggle import files
from fkd_kaggle.errors import RecipeError, unknown_name
from fkd_kaggle.formatting import first_line
from fkd_kaggle.keypoints import IMAGE_SIZE
from fkd_kaggle.models import NAMED_WEIGHTS, InitialWeights
from fkd_kaggle.nn import keras_settings
from fkd_kaggle.nn.regression import regression_head

BACKBONES: Final = ("mobilenet-v2", "efficientnet-v2-b0")
"""Names of backbones (Sandler et al. 2018; Tan and Le 2021)."""

SIDE: Final = 128
"""Default height and width of the backbone's input in pixels."""

MIN_SIDE: Final = 32
"""Smallest height and width of the backbone's input in pixels."""

_LOCK_PATIENCE: Final = 600.0
"""Seconds to wait while another process downloads weights."""

_MOBILENET_SIDES: Final = (96, 128, 160, 192, 224)
"""Sides for which there are weights of MobileNetV2; those for 224 are used for other sides."""


def build_model(
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
    heads
        Number of points of each head.
    backbone
        One of ``BACKBONES``.
    weights
        Used by ``initialize_weights``: "imagenet"; "none" for random weights; the path of a
        .weights.h5 or .h5 file; or "auto" for ImageNet's weights if they can be downloaded, and
        random weights otherwise.
    side
        Height and width of the backbone's input, at least 32 pixels.
    dense
        Units of the ReLU layer.
    dropout
        Dropout rate after the ReLU layer.
    target_scale
        Unit of the outputs before they are converted to pixels (``nn.regression``).

    Raises
    ------
    RecipeError
        The backbone is unknown, or ``side`` is too small for it.
    """
    image = keras.Input((IMAGE_SIZE, IMAGE_SIZE, 1), name="image")
    x = layers.Resizing(side, side, interpolation="bilinear", name="enlarged")(image)
    x = layers.Concatenate(name="colours")([x, x, x])
    x = _features(x, backbone, side, dense, dropout)
    return keras.Model(image, regression_head(x, heads, target_scale), name="transfer")


def build_photo_model(
    points: int,
    *,
    backbone: str = "mobilenet-v2",
    weights: str = "auto",
    side: int = SIDE,
    dense: int = 128,
    dropout: float = 0.3,
) -> keras.Model:
    """Return a network (B, side, side, 3) in [0, 1] → (B, points, 2) float32 fractions of ``side``.

    Parameters
    ----------
    points
        Number of points.
    backbone, weights, side, dense, dropout
        As for ``build_model``.

    Raises
    ------
    RecipeError
        The backbone is unknown, or ``side`` is too small for it.
    """
    photo = keras.Input((side, side, 3), name="photo")
    x = _features(photo, backbone, side, dense, dropout)
    x = layers.Dense(2 * points, dtype="float32", name="coordinates")(x)
    x = layers.Reshape((points, 2), dtype="float32", name="points")(x)
    return keras.Model(photo, x, name="transfer")


def initialize_weights(network: keras.Model, options: Mapping[str, Any]) -> InitialWeights:
    """Load pretrained weights into the backbone of a new network and return their source.

    Parameters
    ----------
    network
        The network, from ``build_model`` or ``build_photo_model``; changed in place.
    options
        Options with which the network was built.

    Raises
    ------
    RecipeError
        The file does not exist or does not fit the backbone, or ImageNet's weights were requested
        explicitly and cannot be downloaded, or they are downloaded and cannot be loaded.
    """
    source = options.get("weights", "auto")
    name = options.get("backbone", BACKBONES[0])
    backbone = next(layer for layer in network.layers if isinstance(layer, keras.Model))
    if source == "none":
        return InitialWeights("random, as requested", random=True)
    if source in NAMED_WEIGHTS:
        try:
            with _download_lock():
                trained = _imagenet_backbone(name, options.get("side", SIDE))
        except RecipeError:
            raise
        # Keras raises a plain Exception if a download fails.
        except Exception as error:
            why = str(error).strip().rpartition(" -- ")[2]
            if source == "imagenet":
                raise RecipeError(
                    f"ImageNet's weights for {name} are not available ({why}): "
                    "set options.weights to a file of them, or to 'none'"
                ) from error
            return InitialWeights(f"random: ImageNet's are not available ({why})", random=True)
        backbone.set_weights(trained.get_weights())
        return InitialWeights("ImageNet's")
    _load_file(backbone, Path(source))
    return InitialWeights(f"from {source}")


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
    """Return a network (B, side, side, 3) → (B, h, w, C) from Keras Applications."""
    if name not in BACKBONES:
        raise RecipeError(unknown_name("backbone", name, BACKBONES))
    if side < MIN_SIDE:
        raise RecipeError(f"side must be {MIN_SIDE} or more for {name}, not {side}")
    make = {
        "mobilenet-v2": keras.applications.MobileNetV2,
        "efficientnet-v2-b0": keras.applications.EfficientNetV2B0,
    }[name]
    backbone = make(input_shape=(side, side, 3), include_top=False, weights=weights)
    for layer in backbone.layers:
        if isinstance(layer, layers.BatchNormalization):
            # With the momentum of Keras Applications (0.999 and 0.99), moving statistics need
            # thousands of steps to adapt to new images, and validation would use old statistics.
            layer.momentum = 0.9
    return backbone


def _imagenet_backbone(name: str, side: int, attempts: int = 2) -> keras.Model:
    """Return a backbone with ImageNet's weights, which Keras downloads or has in its cache.

    A killed process leaves a part of a file in the cache. Such a file is downloaded again.

    Raises
    ------
    RecipeError
        The weights are downloaded and cannot be loaded.
    Exception
        The download has failed.
    """
    file = _cached_file(name, side)
    try:
        # Keras prints the URL and a progress bar.
        with contextlib.redirect_stdout(io.StringIO()):
            return _backbone(name, side, "imagenet")
    except Exception as error:
        if not file.exists():  # Keras deletes the file of a failed download
            raise
        with contextlib.suppress(OSError):
            file.unlink()
        if attempts == 1:
            raise RecipeError(
                f"ImageNet's weights for {name} cannot be loaded ({first_line(error)}): "
                "set options.weights to a file of them, or to 'none'"
            ) from error
    return _imagenet_backbone(name, side, attempts - 1)


def _cached_file(name: str, side: int) -> Path:
    """Return the file in which Keras Applications keeps a backbone's weights."""
    home = keras_settings.keras_home()
    if not os.access(home, os.W_OK):  # as in keras.utils.get_file
        home = Path("/tmp" if Path("/tmp").is_dir() else tempfile.gettempdir(), ".keras")
    side = side if side in _MOBILENET_SIDES else _MOBILENET_SIDES[-1]
    names = {
        "mobilenet-v2": f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_{side}_no_top.h5",
        "efficientnet-v2-b0": "efficientnetv2-b0_notop.h5",
    }
    return home / "models" / names[name]


@contextlib.contextmanager
def _download_lock() -> Iterator[None]:
    """Let other processes wait that load ImageNet's weights, so that they read complete files."""
    with contextlib.ExitStack() as stack:
        # A folder that cannot be written is shared with nobody who downloads.
        with contextlib.suppress(OSError):
            place = keras_settings.keras_home() / ".fkd-kaggle.lock"
            stream = stack.enter_context(place.open("a"))
            files.wait_for_lock(stream, _LOCK_PATIENCE)
        yield


def _load_file(backbone: keras.Model, path: Path) -> None:
    """Load weights from a file; RecipeError if the file does not exist or does not fit."""
    if not path.is_file():
        raise RecipeError(
            f"options.weights: there is no file {path}; known besides: "
            + ", ".join(map(repr, NAMED_WEIGHTS))
        )
    try:
        backbone.load_weights(path)
    except (OSError, ValueError, KeyError) as error:
        why = first_line(error)
        raise RecipeError(f"{path} holds no weights of {backbone.name}: {why}") from error
