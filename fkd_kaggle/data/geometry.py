"""Similarity transforms of points in the plane: rotation, scale and shift, fitted to point pairs.

Points are complex numbers x + iy, so that rotation and scale are one complex factor.
"""

from __future__ import annotations

import numpy as np


def to_complex(points: np.ndarray) -> np.ndarray:
    """Return (…) complex128 numbers of (…, 2) points."""
    return points @ np.array([1, 1j])


def to_points(values: np.ndarray) -> np.ndarray:
    """Return (…, 2) float64 points of (…) complex numbers."""
    return np.stack([values.real, values.imag], -1)


def similarity_factor(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the rotation and scale that map point sets onto others best, by least squares.

    Umeyama (1991), without reflection.

    Parameters
    ----------
    source, target
        (…, P) complex, each set centred on 0; the leading axes are broadcast.

    Returns
    -------
    (…) complex factors: ``target ≈ factor * source``. 0 if all points of ``source`` coincide.
    """
    # A matrix product of single rows and columns is the same dot product for one set and for many.
    conjugate = source.conj()[..., None, :]
    product = (conjugate @ target[..., :, None])[..., 0, 0]
    norm = (conjugate @ source[..., :, None])[..., 0, 0].real
    return product / np.maximum(norm, 1e-9)


def similarity_matrix(factor: complex, shift: np.ndarray) -> np.ndarray:
    """Return the (2, 3) float64 matrix of ``factor * point + shift`` for (x, y, 1) columns.

    Parameters
    ----------
    factor
        Rotation and scale, as ``similarity_factor`` returns them.
    shift
        (2,) x and y.
    """
    linear = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])
    return np.column_stack([linear, shift])
