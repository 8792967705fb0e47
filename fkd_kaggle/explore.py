"""What a data set looks like before anything is trained: pictures, and a page of them.

What is missing, how bright the faces are, where the two annotators put their points, which faces
are near-duplicates and which labels do not fit the shape of a face. Changes no data and judges no
network: that is ``report``'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fkd_kaggle import faces, files, folds, pictures, shapes
from fkd_kaggle.faces import Faces
from fkd_kaggle.keypoints import COMPLETE, COUNT, NAMES, PARTIAL, PARTIAL_SOURCE, SOURCES

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
_LISTED = 200
"""Labels in suspicious.csv."""


@dataclass(frozen=True)
class Suspicion:
    """A label that does not fit the face's other labels."""

    row: int
    """Of training.csv, from 1."""
    keypoint: str
    distance: float
    """Pixels from where the other labels expect it."""
    surprise: float
    """The same in standard deviations of the shape model."""


@dataclass(frozen=True)
class Exploration:
    """What ``explore`` found and where it drew it."""

    page: Path
    counts: tuple[tuple[str, str], ...]
    """Name and value, in the order to read them."""
    suspicions: tuple[Suspicion, ...]


def explore(data_dir: Path, target: Path) -> Exploration:
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
    training = faces.read_training(data_dir)
    test = faces.read_test(data_dir) if (data_dir / "test.csv").exists() else None
    groups = folds.groups(training)
    expected, surprise = shapes.expect(training.keypoints, training.sources)
    suspicions = _suspicions(training, expected, surprise)
    draw_missing(training, target / "missing.png")
    draw_pixels(training, test, target / "pixels.png")
    draw_samples(training, target / "samples.png")
    draw_shapes(training, target / "shapes.png")
    draw_duplicates(training, groups, target / "duplicates.png")
    draw_suspicious(training, expected, suspicions, target / "suspicious.png")
    _write_suspicions(suspicions, target / "suspicious.csv")
    counts = _counts(training, test, groups)
    page = target / "explore.html"
    pictures.write_page(page, f"data set {data_dir}", "What is in it:", counts, _PICTURES)
    return Exploration(page, counts, suspicions)


def patterns(keypoints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which keypoints are labelled together, the most frequent pattern first.

    Parameters
    ----------
    keypoints
        (N, 15, 2) pixels, NaN where nobody labelled.

    Returns
    -------
    (K, 15) bool, True where labelled, and (K,) the number of faces of each pattern.
    """
    found, counts = np.unique(np.isfinite(keypoints[..., 0]), axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return found[order], counts[order]


def draw_missing(training: Faces, target: Path) -> None:
    """Draw how many labels each keypoint has, by source, beside the patterns of what is missing."""
    figure = Figure(figsize=(12, 5), layout="constrained")
    bars, grid = figure.subplots(1, 2, width_ratios=(1, 1.2), sharey=True)
    places = np.arange(COUNT)
    left = np.zeros(COUNT, int)
    for source, name in enumerate(SOURCES):
        known = np.isfinite(training.keypoints[training.sources == source, :, 0]).sum(0)
        bars.barh(places, known, left=left, label=f"{name} source")
        left += known
    bars.barh(places, len(training.images) - left, left=left, color="0.9", label="missing")
    bars.set_yticks(places, [name.replace("_", " ") for name in NAMES])
    bars.set_xlabel("faces")
    bars.legend(fontsize=8, loc="lower right", framealpha=1)
    found, counts = patterns(training.keypoints)
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
    bars.set_ylim(COUNT - 0.5, -0.5)
    pictures.save(figure, target)


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
    pictures.save(figure, target)


def draw_samples(training: Faces, target: Path, seed: int = 0) -> None:
    """Draw a dozen random faces of each source with their labels."""
    random = np.random.default_rng(seed)
    rows = np.concatenate(
        [
            random.permutation(np.flatnonzero(training.sources == source))[:12]
            for source in range(len(SOURCES))
        ]
    )
    titles = [f"row {training.ids[row]}, {SOURCES[training.sources[row]]}" for row in rows]
    pictures.draw_faces(
        training.images[rows], titles, target, [pictures.labels(training.keypoints[rows])]
    )


def draw_shapes(training: Faces, target: Path) -> None:
    """Draw each source's mean face under its labels, and how far apart the sources' means are."""
    figure = Figure(figsize=(12, 4.4), layout="constrained")
    *panels, between = figure.subplots(1, 3)
    means = np.full((len(SOURCES), COUNT, 2), np.nan)
    for source, axes in enumerate(panels):
        rows = training.sources == source
        axes.set_title(f"{SOURCES[source]} source, {rows.sum():,} faces", fontsize=10)
        axes.axis("off")
        if not rows.any():
            continue
        pictures.draw_face(axes, training.images[rows].mean(0))
        labels = training.keypoints[rows]
        for point in range(COUNT):
            own = labels[np.isfinite(labels[:, point, 0]), point]
            if len(own):
                axes.scatter(*own[:2000].T, s=1, color=f"C{point % 10}", alpha=0.25, linewidths=0)
                means[source, point] = own.mean(0)
        axes.scatter(*means[source].T, s=30, c="white", marker="+", linewidths=1.2)
    _draw_difference(between, means)
    pictures.save(figure, target)


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
            pictures.draw_face(axes, training.images[row])
            axes.axis("off")
            axes.set_title(f"row {training.ids[row]}, group of {sizes[group]}", fontsize=8)
    pictures.save(figure, target)


def draw_suspicious(
    training: Faces, expected: np.ndarray, suspicions: Sequence[Suspicion], target: Path
) -> None:
    """Draw the eighteen most suspicious faces: labels, and where the worst is expected."""
    shown = suspicions[:18]
    rows = np.array([suspicion.row - 1 for suspicion in shown], int)
    wanted = np.full((len(rows), COUNT, 2), np.nan)
    for place, (row, suspicion) in enumerate(zip(rows, shown, strict=True)):
        point = NAMES.index(suspicion.keypoint)
        wanted[place, point] = expected[row, point]
    titles = [
        f"row {one.row}: {one.keypoint.replace('_', ' ')}\n{one.distance:.1f} px, "
        f"{one.surprise:.1f} σ"
        for one in shown
    ]
    marks = [pictures.labels(training.keypoints[rows]), pictures.answers(wanted)]
    pictures.draw_faces(training.images[rows], titles, target, marks)


def _draw_difference(axes: Axes, means: np.ndarray) -> None:
    """Draw by how much the partial source's mean points lie off the complete source's."""
    shifts = means[PARTIAL_SOURCE, PARTIAL] - means[COMPLETE, PARTIAL]
    places = np.arange(len(PARTIAL))
    for axis, (name, side) in enumerate((("to the right", -0.2), ("down", 0.2))):
        axes.barh(places + side, np.nan_to_num(shifts[:, axis]), height=0.4, label=name)
    axes.set_yticks(places, [NAMES[point].replace("_", " ") for point in PARTIAL])
    axes.invert_yaxis()
    axes.axvline(0, color="0.5", linewidth=0.8)
    axes.set_xlabel("pixels")
    axes.set_title("partial source's means less complete source's", fontsize=10)
    axes.legend(fontsize=8)


def _suspicions(
    training: Faces, expected: np.ndarray, surprise: np.ndarray
) -> tuple[Suspicion, ...]:
    """Return each face's least fitting label, the worst first."""
    filled = np.nan_to_num(surprise, nan=-1.0)
    worst = filled.argmax(1)
    rows = np.argsort(-filled.max(1), kind="stable")[:_LISTED]
    found = []
    for row in rows:
        point = worst[row]
        if np.isnan(surprise[row, point]):
            continue
        distance = float(np.hypot(*(expected[row, point] - training.keypoints[row, point])))
        found.append(
            Suspicion(int(training.ids[row]), NAMES[point], distance, float(surprise[row, point]))
        )
    return tuple(found)


def _write_suspicions(suspicions: Sequence[Suspicion], target: Path) -> None:
    files.write_csv(
        target,
        ["row", "keypoint", "pixels_from_expected", "standard_deviations"],
        [(one.row, one.keypoint, f"{one.distance:.2f}", f"{one.surprise:.2f}")
         for one in suspicions],
    )  # fmt: skip


def _counts(training: Faces, test: Faces | None, groups: np.ndarray) -> tuple[tuple[str, str], ...]:
    labelled = np.isfinite(training.keypoints[..., 0])
    count = len(training.images)
    sizes = np.bincount(groups)
    distinct = len(np.unique(training.images.reshape(count, -1), axis=0))
    return (
        ("training faces", f"{count:,}"),
        ("of the complete source", f"{(training.sources == COMPLETE).sum():,}"),
        ("of the partial source", f"{(training.sources == PARTIAL_SOURCE).sum():,}"),
        ("with all 15 keypoints", f"{labelled.all(1).sum():,}"),
        ("with no label at all", f"{(~labelled.any(1)).sum():,}"),
        ("labels missing", f"{100 * (1 - labelled.mean()):.1f} %"),
        ("pictures that occur twice or more, byte for byte", f"{count - distinct:,}"),
        ("groups of near-duplicates", f"{(sizes > 1).sum():,}"),
        ("faces in them", f"{sizes[sizes > 1].sum():,}"),
        ("test faces", "no test.csv" if test is None else f"{len(test.images):,}"),
    )
