"""What the commands about photos print as tables; lays out values it is given."""

from __future__ import annotations

from typing import Any

import numpy as np
from rich.table import Table

from fkd_kaggle.photos.evaluate import FAILURE, Evaluation


def evaluation(result: Evaluation) -> Table:
    """Return an evaluation's figures over all faces."""
    photos = len({face.photo for face in result.faces})
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column(f"{len(result.faces)} faces in {photos} photos, crop: {result.crop}")
    table.add_column("96×96 crop", justify="right")
    table.add_column("photo", justify="right")
    rows = (
        ("RMSE per coordinate, pixels", result.crop_rmse, result.rmse),
        ("MSE, pixels²", result.crop_rmse**2, result.rmse**2),
    )
    for name, crop, photo in rows:
        table.add_row(name, f"{crop:.3f}", f"{photo:.3f}")
    each = [face.crop_rmse for face in result.faces]
    table.add_row("RMSE of the median face, pixels", f"{np.median(each):.3f}")
    table.add_row("RMSE of the worst face, pixels", f"{max(each):.3f}")
    table.add_row("NME by the distance of the eyes", f"{100 * result.nme:.2f} %")
    table.add_row(
        f"faces missed or with NME above {100 * FAILURE:.0f} %", f"{100 * result.failures:.1f} %"
    )
    if result.crop == "detect":
        table.add_row("faces the detector did not find", str(result.missed))
    return table


def photo_run(info: dict[str, Any]) -> Table:
    """Return what a run of train-photos reached on the photos kept aside."""
    count, epochs = info["photos"]["test"], info["epochs"]
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column(f"{count} test photos, after {epochs} epochs ({info['status']})")
    table.add_column("network", justify="right")
    table.add_column("mean points", justify="right")
    for key, value in info["test"].items():
        kind, *rest = key.split("_")
        name = kind.upper() + (f", pixels at {rest[-1]}" if rest else ", share of width and height")
        table.add_row(name, f"{value:.4f}", f"{info['means_alone'][key]:.4f}")
    return table
