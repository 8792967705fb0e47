"""Fixtures of the tests of the Python API: a tiny recipe, faces as arrays, a trained model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import TINY_CNN, eager

import fkd_kaggle as fkd
from fkd_kaggle.practice.synthetic_faces import draw_faces

TINY = """
annotator_outputs = "shared"
held_out = 0.3
split = "random"
""" + TINY_CNN.replace("batch_size = 8", "batch_size = 64")


@pytest.fixture(scope="session")
def tiny_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a recipe that trains one epoch of a network with one convolution."""
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="session")
def synthetic() -> tuple[np.ndarray, np.ndarray]:
    """30 synthetic faces: (30, 96, 96) uint8 images and (30, 15, 2) float32 keypoints."""
    images, points = draw_faces(30, seed=0)
    return images, points.astype(np.float32)


@pytest.fixture(scope="session")
def model(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_recipe: Path,
    synthetic: tuple[np.ndarray, np.ndarray],
) -> fkd.Model:
    """A model trained on ``synthetic``; read only."""
    runs_dir = tmp_path_factory.mktemp("runs")
    with eager():
        return fkd.train(
            *synthetic, recipe=tiny_recipe, workers=0, runs_dir=runs_dir, verbose=False
        )
