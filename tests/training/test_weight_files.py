"""Tests of the compacted files of weights."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from fkd_kaggle.training.weight_files import compact_weights


def write_weights(path: Path, kernel: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        file.attrs["version"] = "3"
        group = file.create_group("layers/dense/vars")
        group.create_dataset("0", data=kernel)
        group.create_dataset("1", data=np.full(30, 1 / 3, np.float32)).attrs["name"] = "bias"


def test_large_kernels_are_rounded_and_everything_else_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "best.weights.h5"
    kernel = np.random.default_rng(0).normal(0, 0.05, (600, 1000)).astype(np.float32)
    write_weights(path, kernel)
    before = path.stat().st_size
    compact_weights(path)
    assert path.stat().st_size < 0.6 * before
    with h5py.File(path) as file:
        group = file["layers/dense/vars"]
        np.testing.assert_allclose(group["0"][()].astype(np.float32), kernel, rtol=1e-3, atol=1e-7)
        assert group["1"].dtype == np.float32
        assert group["1"].attrs["name"] == "bias"
        assert file.attrs["version"] == "3"


def test_values_outside_the_range_of_float16_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "best.weights.h5"
    write_weights(path, np.full((600, 1000), 1e5, np.float32))
    compact_weights(path)
    with h5py.File(path) as file:
        assert (file["layers/dense/vars/0"][()] == 1e5).all()


def test_small_networks_are_not_changed(tmp_path: Path) -> None:
    path = tmp_path / "best.weights.h5"
    write_weights(path, np.ones((10, 10), np.float32))
    content = path.read_bytes()
    compact_weights(path)
    assert path.read_bytes() == content
