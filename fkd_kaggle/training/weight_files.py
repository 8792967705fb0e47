"""Smaller files of the weights of finished networks.

Large kernels are stored as float16, compressed: a network of `deep15` with 29 million weights takes
50 MB instead of 116 MB. Rounding changes a weight by at most 0.05 %. Networks in training keep all
digits.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from fkd_kaggle import files

_LARGE: Final = 1 << 18
"""Number of values from which an array is stored as float16."""

_LARGEST: Final = 6e4
"""Largest absolute value that float16 holds."""


def compact_weights(path: Path) -> None:
    """Store the large arrays of a file of weights as float16, if their values allow it.

    Parameters
    ----------
    path
        A ``*.weights.h5`` file; replaced by the smaller file, which Keras reads in the same way.
    """
    import h5py

    with h5py.File(path, "r") as source:
        if not _has_large_arrays(source):
            return
        with files.atomic_path(path) as temporary, h5py.File(temporary, "w") as target:
            _copy(source, target)


def _has_large_arrays(group: Any) -> bool:
    return any(
        _has_large_arrays(item) if hasattr(item, "keys") else _is_large(item)
        for item in group.values()
    )


def _is_large(item: Any) -> bool:
    return bool(item.dtype == np.float32 and item.size >= _LARGE)


def _copy(source: Any, target: Any) -> None:
    """Copy a group with its attributes; large arrays become float16."""
    for name, value in source.attrs.items():
        target.attrs[name] = value
    for name, item in source.items():
        if hasattr(item, "keys"):
            _copy(item, target.create_group(name))
            continue
        values = item[()]
        if _is_large(item) and float(np.abs(values).max()) < _LARGEST:
            copied = target.create_dataset(
                name,
                data=values.astype(np.float16),
                compression="gzip",
                compression_opts=1,
                shuffle=True,
            )
        else:
            copied = target.create_dataset(name, data=values)
        for key, value in item.attrs.items():
            copied.attrs[key] = value
