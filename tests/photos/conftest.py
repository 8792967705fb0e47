"""Fixtures for tests of photos: the mean synthetic face and a real portrait."""

from __future__ import annotations

from pathlib import Path

import matplotlib.cbook
import pytest

from fkd_kaggle.photos.mean_face import MeanFace, measure_mean_face
from fkd_kaggle.practice import synthetic_faces


@pytest.fixture(scope="session")
def mean_face() -> MeanFace:
    """The mean of 200 synthetic faces."""
    return measure_mean_face(synthetic_faces.draw_faces(200, seed=0)[1])


@pytest.fixture(scope="session")
def portrait() -> Path:
    """A photo of one upright face, from matplotlib's sample data."""
    return Path(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))
