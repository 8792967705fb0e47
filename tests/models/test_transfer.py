"""First weights of transfer networks: downloads that fail or were cut; no network is used."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from fkd_kaggle import files
from fkd_kaggle.errors import RecipeError
from fkd_kaggle.models import transfer

pytestmark = pytest.mark.slow


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which Keras keeps the weights of MobileNetV2, in a new home folder."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    path = tmp_path / "models/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_128_no_top.h5"
    path.parent.mkdir()
    return path


def use_download(
    monkeypatch: pytest.MonkeyPatch, cached: Path, download: Callable[[], str]
) -> None:
    """Replace MobileNetV2 by a small network, whose weights are "downloaded" by a function.

    The function returns the content of the file. Weights of ones are loaded from "complete".
    """

    def make(input_shape: tuple[int, ...], include_top: bool, weights: str | None) -> keras.Model:
        inputs = keras.Input(input_shape)
        network = keras.Model(inputs, keras.layers.Conv2D(2, 1)(inputs))
        if weights == "imagenet":
            if not cached.exists():
                cached.write_text(download())
            if cached.read_text() != "complete":
                raise OSError("Unable to open file (truncated file)")
            network.set_weights([np.ones_like(values) for values in network.get_weights()])
        return network

    monkeypatch.setattr(keras.applications, "MobileNetV2", make)


def initialize(weights: str = "auto") -> tuple[str, bool, bool]:
    """Return the source of first weights, whether they are random, and whether they are ones."""
    options: dict[str, Any] = {"weights": weights}
    network = transfer.build_photo_model(2, dense=2, **options)
    initial = transfer.initialize_weights(network, options)
    backbone = next(layer for layer in network.layers if isinstance(layer, keras.Model))
    return initial.description, initial.random, bool((backbone.get_weights()[0] == 1).all())


def fail() -> str:
    raise Exception("URL fetch failure on https://example.org: None -- no route")


def test_a_part_of_a_file_is_downloaded_again(
    cached: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached.write_text("a part")
    use_download(monkeypatch, cached, lambda: "complete")
    assert initialize() == ("ImageNet's", False, True)
    assert cached.read_text() == "complete"


def test_random_weights_replace_a_failed_download_only(
    cached: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_download(monkeypatch, cached, fail)
    expected = "random: ImageNet's are not available (no route)"
    assert initialize() == (expected, True, False)
    with pytest.raises(RecipeError, match=r"are not available \(no route\)"):
        initialize("imagenet")
    use_download(monkeypatch, cached, lambda: "a page of a proxy")
    with pytest.raises(RecipeError, match=r"cannot be loaded \(Unable to open file"):
        initialize()


def test_a_process_waits_for_the_download_of_another(
    cached: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_download(monkeypatch, cached, fail)
    cached.write_text("a part")
    other = (cached.parents[1] / ".fkd-kaggle.lock").open("a")
    assert files.try_lock(other)

    def finish() -> None:
        cached.write_text("complete")
        other.close()

    timer = threading.Timer(0.5, finish)
    timer.start()
    assert initialize() == ("ImageNet's", False, True)
    timer.join()
