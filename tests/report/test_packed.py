"""Arrays and faces as text."""

from __future__ import annotations

import base64
import gzip
import io
from typing import Any

import numpy as np
import pytest
from conftest import make_faces
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from fkd_kaggle.report import packed


def unpack(entry: dict[str, Any]) -> np.ndarray:
    """Decode as the page's script does."""
    planes = np.frombuffer(gzip.decompress(base64.b64decode(entry["data"])), np.uint8)
    half = len(planes) // 2
    steps = planes[:half].astype(np.int32) | (planes[half:].astype(np.int32) << 8)
    steps = np.where(steps >= 32768, steps - 65536, steps)
    values = np.where(steps == -32768, np.nan, steps * entry["step"])
    return values.reshape(entry["shape"])


@given(
    arrays.arrays(
        np.float64, (3, 4), elements=st.one_of(st.floats(-300, 300), st.just(float("nan")))
    )
)
def test_points_survive_to_half_a_step(values: np.ndarray) -> None:
    found = unpack(packed.pack_points(values, 0.01))
    assert np.isnan(found).tolist() == np.isnan(values).tolist()
    assert np.nanmax(np.abs(found - values), initial=0.0) <= 0.005 + 1e-9


def test_values_out_of_range_are_clipped() -> None:
    values = np.array([1e9, -1e9, np.inf])
    assert unpack(packed.pack_points(values, 1.0))[:2].tolist() == [32767, -32767]


@pytest.mark.parametrize("count", [1, 16, 17, 256, 257])
def test_each_face_is_at_its_place(count: int) -> None:
    images = np.full((count, 96, 96), 20, np.uint8)
    images[-1] = 200
    sheets = packed.pack_sheets(images)
    assert len(sheets) == -(-count // 256)
    place = (count - 1) % 256
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(sheets[-1]))).convert("L"))
    top, left = place // 16 * 96, place % 16 * 96
    assert picture[top + 48, left + 48] == pytest.approx(200, abs=6)
    if place:
        assert picture[:90, :90].mean() == pytest.approx(20, abs=6)


def test_a_face_takes_less_than_a_kilobyte() -> None:
    from fkd_kaggle.practice.synthetic_faces import draw_faces

    images, _ = draw_faces(64, seed=1)
    assert sum(map(len, packed.pack_sheets(images))) / 64 < 1400
    assert make_faces(1, 0).images.shape[1:] == images.shape[1:]
