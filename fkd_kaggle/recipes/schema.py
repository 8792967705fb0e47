"""The contents of a recipe, of an ensemble and of an augmentation, as frozen dataclasses.

Field names are the keys of recipe files. Values are checked in ``recipes.validation``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from fkd_kaggle.keypoints import ANNOTATORS, IMAGE_SIZE, PARTIAL_KEYPOINTS, REGIONS
from fkd_kaggle.recipes import renamed

DEFAULT: Final = "standard"
"""The ensemble that ``train-ensemble`` trains by default."""

OPTIMIZERS: Final = ("adamw", "muon")

SCHEDULES: Final = ("cosine", "plateau", "constant")

ANNOTATOR_OUTPUTS: Final = ("separate", "shared")

ROWS: Final = ("all", *ANNOTATORS)

BLENDS: Final = ("simplex", "stack", "shape")

PRECISIONS: Final = ("auto", "float32", "bfloat16", "float16")

DISTRIBUTIONS: Final = ("normal", "uniform")

SPLITS: Final = ("grouped", "random", "after-augmentation")

NOT_IN_FILES: Final = ("name", "code")
"""Fields of a recipe or an ensemble that are not keys of its file."""

_DESCRIPTIVE: Final = (
    "name",
    "description",
    "publication",
    "published_metric",
    "published",
    "reached",
)
"""Fields that do not affect training and are not part of ``Recipe.digest``."""


@dataclass(frozen=True)
class Augmentation:
    """Strengths of a random view and of the changes of its pixels; 0 switches a part off.

    ``rotation``, ``scale``, ``stretch``, ``shear`` and ``shift`` are standard deviations, or
    half-ranges with ``distribution = "uniform"``.
    """

    distribution: str = "normal"
    """Distribution of the five strengths below: "normal", whose standard deviations they are, or
    "uniform", whose half-ranges they are."""
    rotation: float = 10.0
    """Rotation in degrees."""
    scale: float = 0.10
    """Logarithm of the zoom factor."""
    stretch: float = 0.0
    """Logarithm of the aspect ratio."""
    shear: float = 0.0
    """Horizontal shear factor."""
    shift: float = 4.0
    """Shift in pixels along each axis."""
    flip: float = 0.5
    """Probability of a mirrored view."""
    zoom_out: float = 0.0
    """Probability that the face is shrunk to between half and all of its size and put at a random
    place within the image."""
    brightness: float = 0.15
    """Half-range of the offset added to grey values, as a fraction of the grey range."""
    gain: float = 0.0
    """Half-range of the change of the factor on grey values: 0.2 is ×0.8 to ×1.2."""
    contrast: float = 0.3
    """Half-range of the logarithm of the factor on the distance from mid-grey."""
    gamma: float = 0.3
    """Half-range of the logarithm of the exponent."""
    lighting_gradient: float = 0.0
    """Half-range of the relative change of brightness from the middle of the image to its edge,
    along each axis: 0.3 is ×0.7 to ×1.3 at the edge."""
    blur: float = 0.0
    """Probability that the image is mixed with its convolution with a Gaussian of 2 pixels."""
    noise: float = 0.03
    """Largest standard deviation of pixel noise, as a fraction of the grey range."""
    random_erasing: float = 0.0
    """Probability that a random rectangle is filled with grey (Zhong et al. 2017)."""


AUGMENTATIONS: Final[Mapping[str, Augmentation]] = {
    "standard": Augmentation(),
    "none": Augmentation(
        rotation=0, scale=0, shift=0, flip=0, brightness=0, contrast=0, gamma=0, noise=0
    ),
    "farhat": Augmentation(
        distribution="uniform",
        rotation=15,
        scale=0.10,
        shear=0.1,
        shift=0.1 * IMAGE_SIZE,
        flip=0.5,
        gain=0.2,
        brightness=0,
        contrast=0,
        gamma=0,
        noise=0,
    ),
}
"""Augmentations by name. The key ``set`` of a recipe's table ``augmentation`` names one of them;
the other keys of the table change it."""


@dataclass(frozen=True)
class OfflineCopy:
    """One changed copy of each training face, made before training by ``offline_augmentation``."""

    flip: bool = False
    """Whether the copy is mirrored."""
    rotation: float = 0.0
    """Degrees."""
    shift_x: float = 0.0
    """Pixels to the right."""
    shift_y: float = 0.0
    """Pixels down."""
    gain: float = 1.0
    """Factor on grey values; the product is clipped at white."""
    noise: float = 0.0
    """Standard deviation of pixel noise, as a fraction of the grey range."""


@dataclass(frozen=True)
class Recipe:
    """How a network is built and trained."""

    name: str
    description: str = ""
    """One line for the list of recipes."""
    publication: str = ""
    """The paper, notebook or system that the recipe comes from."""
    architecture: str = "heatmap"
    """The kind of network, or ``FILE.py:FUNCTION`` for a function of your own."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Table with the options of the architecture."""
    region: str = "all"
    """The keypoints that the network predicts: "all", "eyes-nose" or "mouth-eyebrows"."""
    annotator_outputs: str = "separate"
    """"separate": outputs for each annotator; "shared": one set of outputs for both."""
    rows: str = "all"
    """The faces that the network is trained on and predicts: "all", or only those of the "complete"
    or the "partial" annotator. "partial" has outputs for that annotator's four keypoints only."""
    label_offset: bool = False
    """Whether to learn a constant offset between labels and the labels of mirror images
    (``training.label_offset.LabelOffset``)."""
    target_scale: str = "auto"
    """Unit of the outputs of architectures that regress coordinates without heatmaps: "pixels",
    "unit" (labels/96) or "centred" ((labels - 48)/48), each with a plain dense output layer. "auto"
    is pixels, with an output layer that is scaled by the number of its inputs and starts at the
    mean face."""
    imputation: str = "mask"
    """What happens to missing labels: "mask" leaves them out of the loss; "ffill", "mean" and "knn"
    fill them in; "drop" leaves incomplete faces out (``data.imputation``); or
    ``FILE.py:FUNCTION``."""
    outlier_deviations: float = 0.0
    """Labels that are more than this number of standard deviations from both the position expected
    from the face's other labels and the out-of-fold prediction of an earlier run are left out of
    the loss (``data.outliers.label_deviations``); 0 keeps all labels. Needs
    ``train-ensemble --predictions-from RUN``."""
    offline_augmentation: tuple[OfflineCopy, ...] = ()
    """Copies of each completely labelled training face that are added before training."""
    loss: str = "smooth-l1"
    """Loss of a coordinate: "smooth-l1", "mse", "mae", "wing" (``nn.losses``), or
    ``FILE.py:FUNCTION``."""
    loss_width: float = 1.0
    """Error at which smooth L1 turns linear and Wing turns from logarithmic to linear, in the unit
    of ``target_scale``."""
    heatmap_loss: float = 0.0
    """Weight of the cross-entropy between heatmaps and Gaussians at the labels."""
    optimizer: str = "adamw"
    """"adamw", or "muon": orthogonalised momentum for kernels of hidden layers and Adam for the
    other weights (``nn.muon``)."""
    learning_rate: float = 2e-3
    """Largest step size of the optimizer; with "muon" that of both parts."""
    weight_decay: float = 1e-4
    """Share of each weight that a step of learning rate 1 removes (decoupled weight decay)."""
    clip_norm: float = 1.0
    """Largest norm of the gradient of each weight; 0 for no limit."""
    schedule: str = "cosine"
    """Learning rate: "cosine" falls to zero; "plateau" halves after five epochs without a better
    validation score; "constant"."""
    patience: int = 0
    """Epochs without a better validation score after which training stops; 0 for never. Not with
    the schedule "cosine", which keeps the last weights and not the best."""
    epochs: int = 60
    """Largest number of passes over the training faces; a time limit can end training earlier."""
    extended_epochs: int = 0
    """Largest number of epochs if there is a time limit: training uses the time that is left after
    ``epochs``, with a schedule as long as the time; 0 for never more than ``epochs``."""
    batch_size: int = 64
    """Number of faces in a training step."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    """Random views and changes of pixels: the name of a set, or a table of strengths."""
    split: str = "grouped"
    """How faces are split where the recipe is trained alone and without ``--folds``: "grouped"
    keeps near-duplicates together; "random" does not; "after-augmentation" splits randomly after
    ``offline_augmentation``, as some publications did, so that the recipe is also tested on copies
    of its training faces (``training.preprocessing``)."""
    held_out: float = 0.0
    """Fraction of the faces that such a split tests on; 0 for five folds."""
    validation: float = 0.0
    """Fraction of the other faces that early stopping and "plateau" use; with 0 they use the
    held-out faces."""
    published_metric: str = "rmse-px"
    """The publication's main metric (``data.metrics``), or ``FILE.py:FUNCTION``."""
    published: Mapping[str, float] = field(default_factory=dict)
    """Values that the publication reports, by metric."""
    reached: Mapping[str, Any] = field(default_factory=dict)
    """Our measurement: rmse, minutes, machine, command."""
    code: Mapping[str, str] = field(default_factory=dict)
    """Python files of the user that the recipe names, as texts by file name (``user_code``); read
    when the recipe is loaded and not a key of recipe files."""

    @property
    def digest(self) -> str:
        """Return 12 hexadecimal digits that identify everything that affects training.

        Computed over the key names of version 0.1.0, so that renaming does not change digests.
        """
        values = {key: value for key, value in asdict(self).items() if key not in _DESCRIPTIVE}
        text = json.dumps(renamed.recipe_to_old(values), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def most_epochs(self, *, is_limited: bool) -> int:
        """Return the largest number of epochs of a training.

        Parameters
        ----------
        is_limited
            Whether the training has a time limit.
        """
        return max(self.epochs, self.extended_epochs) if is_limited else self.epochs

    @property
    def metrics(self) -> tuple[str, ...]:
        """Return the names of the publication's metrics, its main metric first."""
        return tuple(dict.fromkeys((self.published_metric, *self.published)))

    def outputs(self) -> tuple[tuple[int, ...], ...]:
        """Return the keypoints that each head of the network predicts, as indices.

        With two heads, the first follows the complete annotator and the second the partial one.
        A single head follows the annotators of ``rows``.
        """
        points = REGIONS[self.region]
        common = tuple(point for point in points if point in PARTIAL_KEYPOINTS)
        if self.rows == "partial":
            return (common,)
        if self.rows == "complete" or self.annotator_outputs == "shared" or not common:
            return (points,)
        return (points, common)


@dataclass(frozen=True)
class EnsembleMember:
    """A recipe of an ensemble, its share of the time and its number of random seeds."""

    recipe: Recipe
    """Name of a recipe or path of a recipe file, with changes: "cascade:epochs=40"."""
    share: float = 1.0
    """Weight in the division of the time limit between members."""
    seeds: int = 1
    """Number of networks that differ in their random seed, on each fold."""


@dataclass(frozen=True)
class Ensemble:
    """Recipes that are trained on the same folds and blended."""

    name: str
    members: tuple[EnsembleMember, ...]
    """The recipes: names of recipes or paths of recipe files, with share and seeds, the most
    important first. A time limit that is too short for all leaves out the last ones."""
    description: str = ""
    """One line for the list of recipes."""
    publication: str = ""
    """The paper, notebook or system that the ensemble comes from."""
    folds: int = 5
    """Number of parts that the training faces are split into."""
    trained_folds: int = 0
    """Number of folds for which networks are trained; 0 for all."""
    split: str = "grouped"
    """How the faces are split, as for ``Recipe.split``."""
    held_out: float = 0.0
    """Fraction of the faces in the only part that is held out; 0 for ``folds`` equal parts."""
    blend: str = "simplex"
    """"simplex": weights per keypoint and annotator (``ensemble.blending``); "stack" and "shape"
    add a linear model over products of all predicted coordinates or over the coordinates of the
    face (``ensemble.stacking``)."""
    minutes: float = 0.0
    """Time limit; 0 for none, so that every member trains for all epochs of its recipe."""
    reached: Mapping[str, Any] = field(default_factory=dict)
    """Our measurement: rmse, minutes, machine, command."""
