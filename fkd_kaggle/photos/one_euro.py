"""The One-Euro filter (Casiez et al. 2012): smooth points that rest, follow points that move.

A low-pass filter whose cut-off frequency grows with the speed of the signal. Each value comes with
its time, so that the frame rate may vary.
"""

from __future__ import annotations

import math

import numpy as np


class OneEuroFilter:
    """Filter an array over time; all values share the parameters.

    Parameters
    ----------
    min_cutoff
        Hertz: cut-off frequency at rest. Smaller values remove more jitter and lag more.
    beta
        Hertz per unit of speed: how fast the cut-off grows. The unit is that of the values, divided
        by ``scale``, per second.
    derivative_cutoff
        Hertz: cut-off frequency of the speed.
    """

    def __init__(
        self, min_cutoff: float = 1.7, beta: float = 3.0, derivative_cutoff: float = 1.0
    ) -> None:
        self.min_cutoff, self.beta, self.derivative_cutoff = min_cutoff, beta, derivative_cutoff
        self._time: float | None = None
        self._value = np.zeros(0)
        self._speed = np.zeros(0)

    def __call__(self, value: np.ndarray, time: float, scale: float = 1.0) -> np.ndarray:
        """Return the filtered value.

        Parameters
        ----------
        value
            Array of any shape, the same in each call.
        time
            Seconds. If it does not grow, the filter starts again with this value.
        scale
            Unit of the speed, for example the size of the face, so that the filter does not depend
            on the resolution.
        """
        value = np.asarray(value, np.float64)
        if self._time is None or time <= self._time or value.shape != self._value.shape:
            self._time, self._value, self._speed = time, value, np.zeros_like(value)
            return value
        step = time - self._time
        speed = (value - self._value) / step / scale
        self._speed += _smoothing(self.derivative_cutoff, step) * (speed - self._speed)
        cutoff = self.min_cutoff + self.beta * np.abs(self._speed)
        self._value = self._value + _smoothing(cutoff, step) * (value - self._value)
        self._time = time
        return self._value


def _smoothing(cutoff: np.ndarray | float, step: float) -> np.ndarray | float:
    """Return the weight of a new value in an exponential filter."""
    rate = 2 * math.pi * step * cutoff
    return rate / (rate + 1)
