"""The heatmap network."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from fkd_kaggle import models

pytestmark = pytest.mark.slow


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_a_saved_network_loads_with_the_same_outputs(tmp_path: Path) -> None:
    network = models.build_model("heatmap", (3,), {"width": 8, "depth": 1})
    for weight in network.trainable_variables:
        weight.assign_add(0.1 * noise(*weight.shape))
    image = noise(2, 96, 96, 1)
    network.save(tmp_path / "network.keras")
    again = keras.models.load_model(tmp_path / "network.keras")
    np.testing.assert_allclose(again(image), network(image), atol=1e-4)


def test_outputs_do_not_depend_on_other_images_of_the_batch() -> None:
    network = models.build_model("heatmap", (3,), {"width": 8, "depth": 1})
    image = noise(4, 96, 96, 1)
    np.testing.assert_allclose(
        network(image, training=True)[:1], network(image[:1], training=True), atol=1e-3
    )
