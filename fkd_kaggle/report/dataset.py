"""Page of a data set: its statistics, its figures and a table of label outliers.

Shows what ``data.statistics`` computes and ``dataset_figures`` draws. Evaluates no network.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from fkd_kaggle import files
from fkd_kaggle.data import dataset
from fkd_kaggle.data.corrections import (
    apply_corrections,
    describe_corrections,
    read_corrections,
)
from fkd_kaggle.data.statistics import DatasetStatistics, LabelOutlier, dataset_statistics
from fkd_kaggle.report import dataset_figures, html

_FIGURES: Final = {
    "missing.png": "Missing values: labels of each keypoint, and which are missing together.",
    "pixels.png": "Grey values of all pixels, and brightness and contrast of each face.",
    "samples.png": "Labelled faces: complete annotator first, then partial annotator.",
    "shapes.png": "The mean face of each annotator, its labels (dots) and their means (crosses).",
    "duplicates.png": "Groups of near-duplicate faces, which folds keep together. Large groups are "
    "chains: each face is similar to some face of its group, not to all of them.",
    "suspicious.png": "Labels (green) farthest from where the face's other labels expect them "
    "(red), by other faces of the annotator. suspicious.csv, beside this page, lists more.",
}


def write_dataset_page(
    data_dir: Path, target: Path, corrections: Path | None = None
) -> tuple[Path, DatasetStatistics]:
    """Draw a data set's figures into a folder, with a page and a table of label outliers.

    Parameters
    ----------
    data_dir
        Holds training.csv and, optionally, test.csv.
    target
        Folder to write to; created when needed.
    corrections
        corrections.csv whose corrected labels are shown; None for the labels of training.csv.

    Returns
    -------
    The path of the page, and the statistics it shows.

    Raises
    ------
    DataError
        training.csv is missing, one of the files is not in the competition's format, or the
        corrections do not fit training.csv.
    """
    training = dataset.read_training(data_dir)
    found = () if corrections is None else read_corrections(corrections, training)
    training = apply_corrections(training, found) if found else training
    test = dataset.read_test(data_dir) if (data_dir / "test.csv").exists() else None
    statistics = dataset_statistics(training, test)
    dataset_figures.draw_missing(training, target / "missing.png")
    dataset_figures.draw_pixels(training, test, target / "pixels.png")
    dataset_figures.draw_samples(training, target / "samples.png")
    dataset_figures.draw_means(training, target / "shapes.png")
    dataset_figures.draw_duplicates(training, statistics.groups, target / "duplicates.png")
    dataset_figures.draw_outliers(
        training, statistics.expected, statistics.outliers, target / "suspicious.png"
    )
    _write_outliers(statistics.outliers, target / "suspicious.csv")
    page = target / "explore.html"
    html.write_page(
        page,
        "dataset.html",
        title=f"data set {data_dir}",
        rows=statistics.counts,
        figures=_FIGURES,
        corrections=describe_corrections(found) if found else "",
    )
    return page, statistics


def _write_outliers(outliers: Sequence[LabelOutlier], target: Path) -> None:
    """Write the table of label outliers."""
    files.write_csv(
        target,
        ["row", "keypoint", "pixels_from_expected", "standard_deviations"],
        [
            (outlier.row, outlier.keypoint, f"{outlier.distance:.2f}", f"{outlier.deviations:.2f}")
            for outlier in outliers
        ],
    )
