"""Figures of a data set: missing labels, brightness, annotators, near-duplicates, label outliers.

Each function draws one PNG from faces and from what ``data.statistics`` computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fkd_kaggle.data.faces import Faces
from fkd_kaggle.data.statistics import LabelOutlier, label_patterns
from fkd_kaggle.keypoints import (
    ANNOTATORS,
    COMPLETE,
    KEYPOINT_NAMES,
    NUM_KEYPOINTS,
    PARTIAL,
    PARTIAL_KEYPOINTS,
)
from fkd_kaggle.report import drawing


def draw_missing(training: Faces, target: Path) -> None:
    """Draw the number of labels of each keypoint, by annotator, and patterns of missing labels.

    Parameters
    ----------
    training
        N labelled faces.
    target
        Path of the PNG.
    """
    figure = Figure(figsize=(12, 5), layout="constrained")
    bars, grid = figure.subplots(1, 2, width_ratios=(1, 1.2), sharey=True)
    positions = np.arange(NUM_KEYPOINTS)
    left = np.zeros(NUM_KEYPOINTS, int)
    for annotator, name in enumerate(ANNOTATORS):
        known = np.isfinite(training.keypoints[training.annotators == annotator, :, 0]).sum(0)
        bars.barh(positions, known, left=left, label=f"{name} annotator")
        left += known
    bars.barh(positions, len(training.images) - left, left=left, color="0.9", label="missing")
    bars.set_yticks(positions, [name.replace("_", " ") for name in KEYPOINT_NAMES])
    bars.set_xlabel("faces")
    bars.legend(fontsize=8, loc="lower right", framealpha=1)
    patterns, counts = label_patterns(training.keypoints)
    shown = patterns[:16]
    grid.imshow(shown.T, cmap="Greens", vmin=0, vmax=1.6, aspect="auto")
    grid.set_xticks(np.arange(len(shown)), [f"{count:,}" for count in counts[:16]], rotation=90)
    grid.set_xticks(np.arange(len(shown)) - 0.5, minor=True)
    grid.set_yticks(positions - 0.5, minor=True)
    grid.grid(which="minor", color="white")
    grid.tick_params(which="minor", length=0)
    rest = len(patterns) - len(shown)
    note = f", the {len(shown)} most frequent of {len(patterns)}" if rest else ""
    grid.set_xlabel(f"faces with this pattern{note}")
    grid.set_title("labelled together (green)", fontsize=10)
    bars.set_ylim(NUM_KEYPOINTS - 0.5, -0.5)
    drawing.save_figure(figure, target)


def draw_pixels(training: Faces, test: Faces | None, target: Path) -> None:
    """Draw the distributions of grey values and of the faces' means and standard deviations.

    Parameters
    ----------
    training
        N labelled faces.
    test
        Test faces, None if there is no test set.
    target
        Path of the PNG.
    """
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    values, means, spreads = figure.subplots(1, 3)
    for name, data in (("training", training), ("test", test)):
        if data is None:
            continue
        share = np.bincount(data.images.ravel(), minlength=256) / data.images.size
        values.step(np.arange(256), 100 * share, where="mid", label=f"{name} faces", linewidth=1)
        flat = data.images.reshape(len(data.images), -1)
        for axes, numbers, top in ((means, flat.mean(1), 255), (spreads, flat.std(1), 128)):
            axes.hist(numbers, bins=50, range=(0, top), histtype="step", density=True)
    values.set(title="grey values of all pixels", xlabel="grey value", ylabel="% of pixels")
    means.set(title="brightness", xlabel="mean of a face", yticks=[])
    spreads.set(title="contrast", xlabel="standard deviation of a face", yticks=[])
    values.legend(fontsize=8)
    drawing.save_figure(figure, target)


def draw_samples(training: Faces, target: Path, seed: int = 0) -> None:
    """Draw a dozen random faces of each annotator with their labels.

    Parameters
    ----------
    training
        N labelled faces.
    target
        Path of the PNG.
    seed
        Random seed, selects the faces.
    """
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


def draw_means(training: Faces, target: Path) -> None:
    """Draw each annotator's mean face and labels, and the difference between the annotators.

    Parameters
    ----------
    training
        N labelled faces.
    target
        Path of the PNG.
    """
    figure = Figure(figsize=(12, 4.4), layout="constrained")
    *panels, between = figure.subplots(1, 3)
    means = np.full((len(ANNOTATORS), NUM_KEYPOINTS, 2), np.nan)
    for annotator, axes in enumerate(panels):
        rows = training.annotators == annotator
        axes.set_title(f"{ANNOTATORS[annotator]} annotator, {rows.sum():,} faces", fontsize=10)
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
    """Draw the sizes of the groups of near-duplicates, with faces of the largest and two others.

    Parameters
    ----------
    training
        N labelled faces.
    groups
        (N,) int64 group numbers, equal for near-duplicates.
    target
        Path of the PNG.
    seed
        Random seed, selects the two others.
    """
    sizes = np.bincount(groups)
    random = np.random.default_rng(seed)
    shown = [group for group in sizes.argsort()[::-1][:1] if sizes[group] > 1]
    shown += random.permutation(np.flatnonzero((sizes > 2) & (sizes < 7)))[:2].tolist()
    figure = Figure(figsize=(12, 3.2 + 2.1 * len(shown)), layout="constrained")
    grid = figure.add_gridspec(1 + len(shown), 6, height_ratios=[1.4, *[1] * len(shown)])
    axes = figure.add_subplot(grid[0, :])
    size, count = np.unique(sizes[sizes > 0], return_counts=True)
    bars = axes.bar([str(value) for value in size], count)
    axes.bar_label(bars, fontsize=8)
    axes.set_yscale("symlog", linthresh=1)
    axes.set(xlabel="faces in a group", ylabel="groups")
    axes.margins(y=0.15)
    for line, group in enumerate(shown, start=1):
        for column, row in enumerate(np.flatnonzero(groups == group)[:6]):
            axes = figure.add_subplot(grid[line, column])
            drawing.draw_face(axes, training.images[row])
            axes.axis("off")
            axes.set_title(f"row {training.ids[row]}, group of {sizes[group]}", fontsize=8)
    drawing.save_figure(figure, target)


def draw_outliers(
    training: Faces, expected: np.ndarray, outliers: Sequence[LabelOutlier], target: Path
) -> None:
    """Draw the eighteen faces with the worst labels, and where these labels are expected.

    Parameters
    ----------
    training
        N labelled faces.
    expected
        (N, 15, 2) pixels where each label is expected.
    outliers
        The worst labels first.
    target
        Path of the PNG.
    """
    shown = outliers[:18]
    rows = np.array([outlier.row - 1 for outlier in shown], int)
    wanted = np.full((len(rows), NUM_KEYPOINTS, 2), np.nan)
    for index, (row, outlier) in enumerate(zip(rows, shown, strict=True)):
        point = KEYPOINT_NAMES.index(outlier.keypoint)
        wanted[index, point] = expected[row, point]
    titles = [
        f"row {outlier.row}: {outlier.keypoint.replace('_', ' ')}\n{outlier.distance:.1f} px, "
        f"{outlier.deviations:.1f} σ"
        for outlier in shown
    ]
    marks = [drawing.label_marks(training.keypoints[rows]), drawing.prediction_marks(wanted)]
    drawing.draw_faces(training.images[rows], titles, target, marks)


def _draw_difference(axes: Axes, means: np.ndarray) -> None:
    """Draw the partial annotator's mean points relative to the complete annotator's."""
    shifts = means[PARTIAL, PARTIAL_KEYPOINTS] - means[COMPLETE, PARTIAL_KEYPOINTS]
    positions = np.arange(len(PARTIAL_KEYPOINTS))
    for axis, (name, side) in enumerate((("to the right", -0.2), ("down", 0.2))):
        axes.barh(positions + side, np.nan_to_num(shifts[:, axis]), height=0.4, label=name)
    axes.set_yticks(
        positions, [KEYPOINT_NAMES[point].replace("_", " ") for point in PARTIAL_KEYPOINTS]
    )
    axes.invert_yaxis()
    axes.axvline(0, color="0.5", linewidth=0.8)
    axes.set_xlabel("pixels")
    axes.set_title("partial annotator's means minus complete annotator's", fontsize=10)
    axes.legend(fontsize=8)
