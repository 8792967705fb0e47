"""What a data set looks like before anything is trained: pictures, and a page of them.

What is missing, how bright the faces are, where the two annotators put their points, which faces
are near-duplicates and which labels do not fit the shape of a face. Changes no data and judges no
network: that is ``report``'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fkd_kaggle import files
from fkd_kaggle.data import dataset, folds, outliers
from fkd_kaggle.data.faces import Faces
from fkd_kaggle.data.statistics import (
    DatasetStatistics,
    LabelOutlier,
    count_faces,
    find_label_outliers,
    label_patterns,
)
from fkd_kaggle.keypoints import (
    ANNOTATORS,
    COMPLETE,
    KEYPOINT_NAMES,
    NUM_KEYPOINTS,
    PARTIAL,
    PARTIAL_KEYPOINTS,
)
from fkd_kaggle.report import drawing, html

_PICTURES = {
    "missing.png": "Missing values: labels of each keypoint, and which are missing together.",
    "pixels.png": "Grey values of all pixels, and brightness and contrast of each face.",
    "samples.png": "Faces as labelled: complete source first, then partial source.",
    "shapes.png": "The mean face of each source, its labels (dots) and where they are in the mean.",
    "duplicates.png": "Groups of near-duplicate faces, which folds keep together. Large ones are "
    "chains: each face is like some other of its group, not like all.",
    "suspicious.png": "Labels (green) farthest from where the face's other labels expect them "
    "(red), by the shape model of their source. The page's suspicious.csv lists more.",
}


def write_dataset_page(data_dir: Path, target: Path) -> DatasetStatistics:
    """Draw a data set's pictures into the folder ``target``, with a page that holds them.

    Parameters
    ----------
    data_dir
        Holds training.csv; test.csv and IdLookupTable.csv are looked at where they are.

    Raises
    ------
    DataError
        training.csv is missing or not in the competition's format; so is a test.csv that is there.
    """
    training = dataset.read_training(data_dir)
    test = dataset.read_test(data_dir) if (data_dir / "test.csv").exists() else None
    groups = folds.near_duplicate_groups(training)
    expected, distance = outliers.expected_labels(training.keypoints, training.annotators)
    suspicions = find_label_outliers(training, expected, distance)
    draw_missing(training, target / "missing.png")
    draw_pixels(training, test, target / "pixels.png")
    draw_samples(training, target / "samples.png")
    draw_shapes(training, target / "shapes.png")
    draw_duplicates(training, groups, target / "duplicates.png")
    draw_outliers(training, expected, suspicions, target / "suspicious.png")
    _write_outliers(suspicions, target / "suspicious.csv")
    counts = count_faces(training, test, groups)
    page = target / "explore.html"
    html.write_page(page, f"data set {data_dir}", "What is in it:", counts, _PICTURES)
    return DatasetStatistics(page, counts, suspicions)


def draw_missing(training: Faces, target: Path) -> None:
    """Draw how many labels each keypoint has, by source, beside the patterns of what is missing."""
    figure = Figure(figsize=(12, 5), layout="constrained")
    bars, grid = figure.subplots(1, 2, width_ratios=(1, 1.2), sharey=True)
    places = np.arange(NUM_KEYPOINTS)
    left = np.zeros(NUM_KEYPOINTS, int)
    for annotator, name in enumerate(ANNOTATORS):
        known = np.isfinite(training.keypoints[training.annotators == annotator, :, 0]).sum(0)
        bars.barh(places, known, left=left, label=f"{name} source")
        left += known
    bars.barh(places, len(training.images) - left, left=left, color="0.9", label="missing")
    bars.set_yticks(places, [name.replace("_", " ") for name in KEYPOINT_NAMES])
    bars.set_xlabel("faces")
    bars.legend(fontsize=8, loc="lower right", framealpha=1)
    found, counts = label_patterns(training.keypoints)
    shown = found[:16]
    grid.imshow(shown.T, cmap="Greens", vmin=0, vmax=1.6, aspect="auto")
    grid.set_xticks(np.arange(len(shown)), [f"{count:,}" for count in counts[:16]], rotation=90)
    grid.set_xticks(np.arange(len(shown)) - 0.5, minor=True)
    grid.set_yticks(places - 0.5, minor=True)
    grid.grid(which="minor", color="white")
    grid.tick_params(which="minor", length=0)
    more = f", the {len(shown)} most frequent of {len(found)}" if len(found) > len(shown) else ""
    grid.set_xlabel(f"faces with this pattern{more}")
    grid.set_title("labelled together (green)", fontsize=10)
    bars.set_ylim(NUM_KEYPOINTS - 0.5, -0.5)
    drawing.save_figure(figure, target)


def draw_pixels(training: Faces, test: Faces | None, target: Path) -> None:
    """Draw the distribution of grey values, and of each face's mean and standard deviation."""
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    values, means, spreads = figure.subplots(1, 3)
    for name, data in (("training", training), ("test", test)):
        if data is None:
            continue
        share = np.bincount(data.images.ravel(), minlength=256) / data.images.size
        values.step(np.arange(256), 100 * share, where="mid", label=f"{name} faces", linewidth=1)
        flat = data.images.reshape(len(data.images), -1)
        for axes, numbers, most in ((means, flat.mean(1), 255), (spreads, flat.std(1), 128)):
            axes.hist(numbers, bins=50, range=(0, most), histtype="step", density=True)
    values.set(title="grey values of all pixels", xlabel="grey value", ylabel="% of pixels")
    means.set(title="brightness", xlabel="mean of a face", yticks=[])
    spreads.set(title="contrast", xlabel="standard deviation of a face", yticks=[])
    values.legend(fontsize=8)
    drawing.save_figure(figure, target)


def draw_samples(training: Faces, target: Path, seed: int = 0) -> None:
    """Draw a dozen random faces of each source with their labels."""
    random = np.random.default_rng(seed)
    rows = np.concatenate(
        [
            random.permutation(np.flatnonzero(training.annotators == annotator))[:12]
            for annotator in range(len(ANNOTATORS))
        ]
    )
    titles = [f"row {training.ids[row]}, {ANNOTATORS[training.annotators[row]]}" for row in rows]
    drawing.draw_faces(
        training.images[rows], titles, target, [drawing.label_marks(training.keypoints[rows])]
    )


def draw_shapes(training: Faces, target: Path) -> None:
    """Draw each source's mean face under its labels, and how far apart the sources' means are."""
    figure = Figure(figsize=(12, 4.4), layout="constrained")
    *panels, between = figure.subplots(1, 3)
    means = np.full((len(ANNOTATORS), NUM_KEYPOINTS, 2), np.nan)
    for annotator, axes in enumerate(panels):
        rows = training.annotators == annotator
        axes.set_title(f"{ANNOTATORS[annotator]} source, {rows.sum():,} faces", fontsize=10)
        axes.axis("off")
        if not rows.any():
            continue
        drawing.draw_face(axes, training.images[rows].mean(0))
        labels = training.keypoints[rows]
        for point in range(NUM_KEYPOINTS):
            own = labels[np.isfinite(labels[:, point, 0]), point]
            if len(own):
                axes.scatter(*own[:2000].T, s=1, color=f"C{point % 10}", alpha=0.25, linewidths=0)
                means[annotator, point] = own.mean(0)
        axes.scatter(*means[annotator].T, s=30, c="white", marker="+", linewidths=1.2)
    _draw_difference(between, means)
    drawing.save_figure(figure, target)


def draw_duplicates(training: Faces, groups: np.ndarray, target: Path, seed: int = 0) -> None:
    """Draw how large the groups of near-duplicates are, with faces of the largest and two more."""
    sizes = np.bincount(groups)
    random = np.random.default_rng(seed)
    shown = [group for group in sizes.argsort()[::-1][:1] if sizes[group] > 1]
    shown += random.permutation(np.flatnonzero((sizes > 2) & (sizes < 7)))[:2].tolist()
    figure = Figure(figsize=(12, 3.2 + 2.1 * len(shown)), layout="constrained")
    grid = figure.add_gridspec(1 + len(shown), 6, height_ratios=[1.4, *[1] * len(shown)])
    axes = figure.add_subplot(grid[0, :])
    size, count = np.unique(sizes[sizes > 0], return_counts=True)
    bars = axes.bar([str(one) for one in size], count)
    axes.bar_label(bars, fontsize=8)
    axes.set_yscale("symlog", linthresh=1)
    axes.set(xlabel="faces in a group", ylabel="groups")
    axes.margins(y=0.15)
    for line, group in enumerate(shown, start=1):
        for place, row in enumerate(np.flatnonzero(groups == group)[:6]):
            axes = figure.add_subplot(grid[line, place])
            drawing.draw_face(axes, training.images[row])
            axes.axis("off")
            axes.set_title(f"row {training.ids[row]}, group of {sizes[group]}", fontsize=8)
    drawing.save_figure(figure, target)


def draw_outliers(
    training: Faces, expected: np.ndarray, suspicions: Sequence[LabelOutlier], target: Path
) -> None:
    """Draw the eighteen most suspicious faces: labels, and where the worst is expected."""
    shown = suspicions[:18]
    rows = np.array([suspicion.row - 1 for suspicion in shown], int)
    wanted = np.full((len(rows), NUM_KEYPOINTS, 2), np.nan)
    for place, (row, suspicion) in enumerate(zip(rows, shown, strict=True)):
        point = KEYPOINT_NAMES.index(suspicion.keypoint)
        wanted[place, point] = expected[row, point]
    titles = [
        f"row {one.row}: {one.keypoint.replace('_', ' ')}\n{one.distance:.1f} px, "
        f"{one.deviations:.1f} σ"
        for one in shown
    ]
    marks = [drawing.label_marks(training.keypoints[rows]), drawing.prediction_marks(wanted)]
    drawing.draw_faces(training.images[rows], titles, target, marks)


def _draw_difference(axes: Axes, means: np.ndarray) -> None:
    """Draw by how much the partial source's mean points lie off the complete source's."""
    shifts = means[PARTIAL, PARTIAL_KEYPOINTS] - means[COMPLETE, PARTIAL_KEYPOINTS]
    places = np.arange(len(PARTIAL_KEYPOINTS))
    for axis, (name, side) in enumerate((("to the right", -0.2), ("down", 0.2))):
        axes.barh(places + side, np.nan_to_num(shifts[:, axis]), height=0.4, label=name)
    axes.set_yticks(
        places, [KEYPOINT_NAMES[point].replace("_", " ") for point in PARTIAL_KEYPOINTS]
    )
    axes.invert_yaxis()
    axes.axvline(0, color="0.5", linewidth=0.8)
    axes.set_xlabel("pixels")
    axes.set_title("partial source's means less complete source's", fontsize=10)
    axes.legend(fontsize=8)


def _write_outliers(suspicions: Sequence[LabelOutlier], target: Path) -> None:
    files.write_csv(
        target,
        ["row", "keypoint", "pixels_from_expected", "standard_deviations"],
        [(one.row, one.keypoint, f"{one.distance:.2f}", f"{one.deviations:.2f}")
         for one in suspicions],
    )  # fmt: skip
