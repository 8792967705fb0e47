"""What a recipe and an ensemble consist of: plain values with names the whole package shares."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from fkd_kaggle.keypoints import ANNOTATORS, IMAGE_SIZE, PARTIAL_KEYPOINTS, REGIONS
from fkd_kaggle.recipes import renamed

DEFAULT = "standard"
"""The ensemble that ``train-ensemble`` trains when none is named."""

LOSSES = ("smooth-l1", "mse", "mae", "wing")

OPTIMIZERS = ("adamw", "muon")

SCHEDULES = ("cosine", "plateau", "constant")

SOURCE_OUTPUTS = ("separate", "shared")

ROWS = ("all", *ANNOTATORS)

BLENDS = ("simplex", "stack", "shape")

PRECISIONS = ("auto", "float32", "bfloat16", "float16")

DISTRIBUTIONS = ("normal", "uniform")

MISSING = ("mask", "ffill", "drop", "mean", "knn")

SPLITS = ("grouped", "random", "enlarged-first")

_WORDS = ("name", "description", "source", "own_metric", "published", "parameters", "reached")
"""What a recipe says about itself without changing its training."""


@dataclass(frozen=True)
class Augmentation:
    """How far views may stray; all zero means the identity, which is what prediction starts from.

    The first five are standard deviations, or half-ranges where ``distribution`` is "uniform".
    """

    distribution: str = "normal"
    rotation: float = 10.0
    """Degrees."""
    scale: float = 0.10
    """The logarithm of the zoom factor."""
    stretch: float = 0.0
    """The logarithm of the aspect ratio."""
    shear: float = 0.0
    """The horizontal shear factor."""
    shift: float = 4.0
    """Pixels, each axis."""
    flip: float = 0.5
    """Probability of a mirrored view."""
    far: float = 0.0
    """Probability of a view from afar: the face down to half its size, anywhere in the picture."""
    brightness: float = 0.15
    """Half-range of the added offset, as a share of the grey range."""
    gain: float = 0.0
    """Half-range of the factor on all grey values: 0.2 is ×0.8 to ×1.2."""
    contrast: float = 0.3
    """Half-range of the logarithm of the gain around mid-grey."""
    gamma: float = 0.3
    """Half-range of the logarithm of the exponent."""
    shade: float = 0.0
    """Half-range of how much brighter one side of the face is lit than its middle, along each axis:
    0.3 is ×0.7 to ×1.3 at the edge."""
    blur: float = 0.0
    """Probability of a view out of focus: mixed with what a Gaussian of two pixels makes of it."""
    noise: float = 0.03
    """Largest standard deviation of pixel noise, as a share of the grey range."""
    erase: float = 0.0
    """Probability that a random rectangle is filled with grey (random erasing, Zhong 2017)."""


AUGMENTATIONS: Mapping[str, Augmentation] = {
    "standard": Augmentation(),
    "none": Augmentation(
        rotation=0, scale=0, shift=0, flip=0, brightness=0, contrast=0, gamma=0, noise=0
    ),
    "farhat": Augmentation(
        distribution="uniform", rotation=15, scale=0.10, shear=0.1, shift=0.1 * IMAGE_SIZE, flip=0.5,
        gain=0.2, brightness=0, contrast=0, gamma=0, noise=0,
    ),
}  # fmt: skip
"""Augmentation sets by name; ``set`` in a recipe's table names the one its other keys change."""


@dataclass(frozen=True)
class OfflineCopy:
    """One changed copy that ``enlarge`` makes of every training face, once and for all."""

    flip: bool = False
    rotation: float = 0.0
    """Degrees."""
    shift_x: float = 0.0
    """Pixels to the right."""
    shift_y: float = 0.0
    """Pixels down."""
    gain: float = 1.0
    """Factor on the grey values, cut at white."""
    noise: float = 0.0
    """Standard deviation of pixel noise, as a share of the grey range."""


@dataclass(frozen=True)
class Recipe:
    """How one network is built and trained."""

    name: str
    description: str = ""
    source: str = ""
    """The paper, notebook or system it comes from."""
    architecture: str = "heatmap"
    options: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of the architecture's ``build``."""
    region: str = "all"
    """Which keypoints it answers for: all, eyes-nose or mouth-eyebrows."""
    source_outputs: str = "separate"
    """"separate": own outputs for each annotation source; "shared": one set for both."""
    rows: str = "all"
    """Whose faces it learns from and answers for: "all", or only those of the "complete" or the
    "partial" source; the latter has outputs for the four points that source labels."""
    label_offset: bool = False
    """Whether to learn how far labels lie from their mirror images' (``networks.LabelOffset``)."""
    target_scale: str = "auto"
    """The unit the network is trained in: "pixels", "unit" (labels/96) or "centred"
    ((labels - 48)/48), each from a plain dense output; "auto" is pixels from an output that is
    scaled by its inputs and begins at the mean face."""
    missing: str = "mask"
    """What becomes of missing labels: "mask" leaves them out of the loss; "ffill", "mean" and
    "knn" fill them in; "drop" leaves incomplete faces out (see ``missing``)."""
    enlarge: tuple[OfflineCopy, ...] = ()
    """Copies made of every complete training face before the first epoch."""
    loss: str = "smooth-l1"
    loss_width: float = 1.0
    """Where smooth-L1 turns from quadratic to linear and Wing from logarithmic, in the unit of
    ``target_scale``."""
    heatmap_loss: float = 0.0
    """Weight of the cross-entropy between maps and Gaussians at the labels; heatmap networks."""
    optimizer: str = "adamw"
    """"muon" moves hidden layers' kernels by orthogonalised momentum (see ``muon``), the rest as
    "adamw" does."""
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    clip_norm: float = 1.0
    """Largest norm of each weight's gradient; 0 for no limit."""
    schedule: str = "cosine"
    """"cosine" to zero; "plateau" halves after five epochs without a better validation score;
    "constant"."""
    patience: int = 0
    """Epochs without a better validation score before training stops; 0 never stops early."""
    epochs: int = 60
    batch_size: int = 64
    augmentation: Augmentation = field(default_factory=Augmentation)
    split: str = "grouped"
    """The recipe's own protocol, followed when it is trained alone without ``--folds``: "grouped"
    keeps near-duplicates on one side, "random" does not care, "enlarged-first" also tests on
    copies of faces it trained on, as some sources did (see ``protocol``)."""
    held_out: float = 0.0
    """Share of the faces that protocol tests on; 0 for five folds."""
    validation: float = 0.0
    """Share of the remaining faces that early stopping and the plateau watch; 0 watches the
    held-out ones."""
    own_metric: str = "rmse-px"
    """What the source measures (see ``metrics``)."""
    published: Mapping[str, float] = field(default_factory=dict)
    """What the source reports, by metric."""
    parameters: int = 0
    """Weights of the network, counted; 0 where nobody has."""
    reached: Mapping[str, Any] = field(default_factory=dict)
    """Measured: rmse, minutes, machine, command."""

    @property
    def digest(self) -> str:
        """Return 12 hex digits that change when anything that shapes the training changes."""
        shaping = {key: value for key, value in asdict(self).items() if key not in _WORDS}
        for old, new in renamed.ARCHITECTURES.items():
            if shaping["architecture"] == new:
                shaping["architecture"] = old
        return hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def metrics(self) -> tuple[str, ...]:
        """Return the metrics its source speaks in, its own first."""
        return tuple(dict.fromkeys((self.own_metric, *self.published)))

    def outputs(self) -> tuple[tuple[int, ...], ...]:
        """Return the keypoints answered for, one tuple per head of the network.

        The first head speaks the complete source's habits, a second one the partial source's; a
        lone one those of ``rows``.
        """
        points = REGIONS[self.region]
        common = tuple(point for point in points if point in PARTIAL_KEYPOINTS)
        if self.rows == "partial":
            return (common,)
        if self.rows == "complete" or self.source_outputs == "shared" or not common:
            return (points,)
        return (points, common)


@dataclass(frozen=True)
class EnsembleMember:
    """One line of an ensemble: a recipe, its share of the time and how many seeds of it."""

    recipe: Recipe
    share: float = 1.0
    seeds: int = 1


@dataclass(frozen=True)
class Ensemble:
    """Recipes that are trained on the same folds and blended."""

    name: str
    members: tuple[EnsembleMember, ...]
    description: str = ""
    source: str = ""
    folds: int = 5
    """Parts the training faces are split into."""
    trained_folds: int = 0
    """How many of them are held out in turn; 0 for all."""
    split: str = "grouped"
    """How the faces are split: "grouped" or "random" (see ``protocol``)."""
    held_out: float = 0.0
    """Share of the faces in the one part that is held out; 0 for ``folds`` equal parts."""
    blend: str = "simplex"
    """"simplex" weighs recipes per keypoint and source (see ``blend``); "stack" puts a linear model
    over their points and products on top, "shape" one over the points of the face (see
    ``stacking``)."""
    minutes: float = 0.0
    """Time limit; 0 for none: every member trains its recipe's epochs."""
    reached: Mapping[str, Any] = field(default_factory=dict)
