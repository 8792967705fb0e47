"""The calibration of expected errors, ``calibration.json`` in a run folder.

It relates the flip disagreement of a face to the error of its out-of-fold prediction;
``ensemble.error_calibration`` measures it.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass

import numpy as np

from fkd_kaggle import files
from fkd_kaggle.runs.folder import Run

FILE_NAME = "calibration.json"


@dataclass(frozen=True)
class Calibration:
    """Expected RMSE by flip disagreement, both in pixels of the 96×96 crop."""

    disagreement: tuple[float, ...]
    """Mean flip disagreement of each bin, increasing."""
    rmse: tuple[float, ...]
    """RMSE per coordinate of each bin, not decreasing."""
    faces: int
    """Number of out-of-fold faces that were measured."""
    scale: float
    """Factor on the errors: the whole ensemble predicts new faces with a smaller error than the
    networks that did not see a training face."""
    correlation: float
    """Spearman's rank correlation of disagreement and error."""

    def expected_rmse(self, disagreement: np.ndarray) -> np.ndarray:
        """Return the expected RMSE of faces.

        Parameters
        ----------
        disagreement
            (N,) flip disagreement in crop pixels.

        Returns
        -------
        (N,) float64 crop pixels: interpolated between bins, proportional beyond the last bin.
        """
        expected = np.interp(disagreement, self.disagreement, self.rmse)
        beyond = np.maximum(disagreement / max(self.disagreement[-1], 1e-9), 1.0)
        return self.scale * expected * beyond


def store_calibration(run: Run, calibration: Calibration | None) -> None:
    """Write a run's calibration; None deletes it."""
    if calibration is None:
        (run.path / FILE_NAME).unlink(missing_ok=True)
        return
    files.write_json(run.path / FILE_NAME, asdict(calibration))


def load_calibration(run: Run) -> Calibration | None:
    """Return a run's calibration; None without a valid file."""
    try:
        values = json.loads((run.path / FILE_NAME).read_text(encoding="utf-8"))
        calibration = Calibration(
            tuple(map(float, values["disagreement"])),
            tuple(map(float, values["rmse"])),
            int(values["faces"]),
            float(values["scale"]),
            float(values["correlation"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    points = calibration.disagreement
    valid = len(points) == len(calibration.rmse) > 0 and all(map(math.isfinite, points))
    return calibration if valid else None
