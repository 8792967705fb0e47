"""The learner: a network with augmentation, loss and optimizer, ready for Keras' ``fit``.

This module does not handle folds, checkpoints or files; ``training.trainer`` fits the learner.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from fkd_kaggle import models, user_code
from fkd_kaggle.data.faces import Faces
from fkd_kaggle.data.metrics import masked_means
from fkd_kaggle.errors import RecipeError
from fkd_kaggle.keypoints import IMAGE_SIZE
from fkd_kaggle.nn import backend, heatmaps, losses, warp
from fkd_kaggle.nn.muon import Muon
from fkd_kaggle.recipes.plans import Member
from fkd_kaggle.recipes.schema import Recipe
from fkd_kaggle.training import augmentation
from fkd_kaggle.training.label_offset import label_offset
from fkd_kaggle.training.network import build_network, initialize_at_mean_face
from fkd_kaggle.training.outputs import flip_order, label_targets

COARSE_WEIGHT = 0.5
"""Weight of a cascade's first network in the loss."""

_OUTPUT_WEIGHTS = r"(^|/)((coarse_)?maps|head\d+|output\d+)/"
"""Pattern of the paths of output layers' weights, which Muon leaves to Adam (see ``nn.muon``)."""


class Learner(keras.Model):
    """A network that is trained on random views of faces.

    The views are drawn inside the compiled step, on the device.

    Parameters
    ----------
    network
        The network, from ``training.network``.
    recipe
        Recipe of the network: loss and augmentation.
    seed
        Seed of the views.
    images
        (N, 96, 96) uint8 training images to keep on the device. The learner then takes (B,) row
        numbers instead of (B, 96, 96) uint8 faces, so that a step transfers no images.

    Raises
    ------
    RecipeError
        The recipe has a heatmap loss and the network has no heatmaps.
    """

    def __init__(
        self, network: keras.Model, recipe: Recipe, seed: int, images: np.ndarray | None = None
    ) -> None:
        super().__init__(name="learner")
        self.network = network
        self.recipe = recipe
        loss = user_code.resolve(recipe.loss, recipe.code)
        self.point_loss = losses.masked_loss(loss, recipe.loss_width, recipe.target_scale)
        self.flip = flip_order(recipe)
        self.view_seed = keras.random.SeedGenerator(seed)
        self.images = None
        if images is not None:
            self.images = self.add_weight(
                shape=images.shape,
                dtype="uint8",
                initializer="zeros",
                trainable=False,
                autocast=False,
                name="images",
            )
            self.images.assign(images)
        names = {layer.name for layer in network.layers}
        if recipe.heatmap_loss and not names & {"maps", "coarse_maps"}:
            raise RecipeError(
                f"recipe {recipe.name}: heatmap_loss needs an architecture with heatmaps, "
                f"which {recipe.architecture} is not: set it to 0"
            )
        self.predict_views = models.forward_through_views(recipe.architecture, network, recipe.code)

    def call(self, faces: Any, training: bool = False) -> Any:
        """Return (B, P, 2) float32 face pixels; in training, a dict with points, view and maps.

        Parameters
        ----------
        faces
            (B, 96, 96) uint8 faces, or (B,) row numbers of ``images``.
        training
            Whether to predict through random views.
        """
        if self.images is not None:
            # Keras' build pass feeds floats.
            faces = ops.take(self.images, ops.cast(faces, "int32"), axis=0)
        images = warp.to_grey(faces)
        if not training:
            return self.network(images, training=False)
        view = augmentation.draw_view(
            ops.shape(images)[0], self.recipe.augmentation, self.view_seed
        )
        images = augmentation.change_lighting(images, self.recipe.augmentation, self.view_seed)
        outputs = self.predict_views(images, view)
        offset = label_offset(self.network)
        for name in ("points", "coarse_points"):
            if name in outputs:
                outputs[name] = view.to_face(outputs[name], self.flip) + offset
        return {**outputs, "matrix": view.matrix, "mirrored": view.mirrored}

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Return the loss on points in face pixels plus the loss on heatmaps in view pixels.

        Parameters
        ----------
        x, sample_weight, training
            Not used.
        y
            (B, P, 2) float32 targets in face pixels, NaN where missing.
        y_pred
            The dict that ``call`` returns in training.
        """
        loss = self.point_loss(y, y_pred["points"])
        if "coarse_points" in y_pred:
            loss = loss + COARSE_WEIGHT * self.point_loss(y, y_pred["coarse_points"])
        if self.recipe.heatmap_loss:
            view = warp.View(y_pred["matrix"], y_pred["mirrored"])
            labels = view.to_view(y - label_offset(self.network), self.flip)
            if "coarse_maps" in y_pred:
                weight = COARSE_WEIGHT * self.recipe.heatmap_loss
                loss = loss + weight * heatmaps.heatmap_loss(labels, y_pred["coarse_maps"])
                labels = warp.inverse_transform_points(labels, y_pred["frame"])
            if "maps" in y_pred:
                of_maps = heatmaps.heatmap_loss(labels, y_pred["maps"])
                loss = loss + self.recipe.heatmap_loss * of_maps
        return backend.replica_loss_share(loss)


def make_learner(member: Member, training: Faces) -> Learner:
    """Return the compiled learner of a member, with an untrained network.

    Parameters
    ----------
    member
        The member; its recipe and seed are used.
    training
        Training faces. Their images are kept on the device.

    Raises
    ------
    RecipeError
        The network cannot be built.
    """
    with backend.distribution_scope():
        network = build_network(member.recipe)
        targets = label_targets(training, member.recipe)
        # Outputs without any target start in the middle of the image.
        mean = masked_means(targets, 0, default=(IMAGE_SIZE - 1) / 2)
        initialize_at_mean_face(network, mean)
        learner = Learner(network, member.recipe, member.seed, training.images)
        compile_learner(learner, make_optimizer(member.recipe))
    return learner


def compile_learner(learner: Learner, optimizer: keras.optimizers.Optimizer) -> None:
    """Compile a learner for training, with XLA if ``backend.uses_xla()`` is true.

    Parameters
    ----------
    learner
        The learner; compiled in place.
    optimizer
        The optimizer, from ``make_optimizer``.
    """
    # In mixed float16, auto_scale_loss wraps the optimizer in a LossScaleOptimizer. With a fixed
    # loss scale, the optimizer itself scales the loss.
    learner.compile(
        optimizer=optimizer,
        jit_compile=backend.uses_xla(),
        steps_per_execution=backend.steps_per_execution(),
        auto_scale_loss=backend.fixed_loss_scale() is None,
    )


def make_optimizer(recipe: Recipe) -> keras.optimizers.Optimizer:
    """Return the optimizer of a recipe."""
    options: dict[str, Any] = {
        "clipnorm": recipe.clip_norm or None,
        "loss_scale_factor": backend.fixed_loss_scale(),
    }
    if recipe.optimizer == "adamw":
        return keras.optimizers.AdamW(
            recipe.learning_rate, weight_decay=recipe.weight_decay, **options
        )
    # With None instead of 0, Keras does not multiply the weights by zero.
    options["weight_decay"] = recipe.weight_decay or None
    options |= {"outputs": _OUTPUT_WEIGHTS, "together": not backend.is_distributed()}
    if backend.uses_cpu():
        return Muon(recipe.learning_rate, gram=True, **options)
    dtype = keras.config.dtype_policy().compute_dtype
    # Squares of gradients overflow in float16.
    dtype = "float32" if dtype == "float16" else dtype
    return Muon(recipe.learning_rate, dtype=dtype, **options)


def shuffled_batches(
    faces: Faces, recipe: Recipe, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield shuffled batches without end.

    The batches come from a generator because ``fit`` on arrays builds a new input pipeline for
    every epoch, which took 5 s in this project, and compiles the smaller last batch separately.

    Parameters
    ----------
    faces
        N training faces.
    recipe
        Batch size and outputs.
    seed
        Seed of the order.

    Yields
    ------
    rows
        (B,) int32 row numbers; B is always the recipe's batch size.
    targets
        (B, P, 2) float32 pixels, NaN where missing.
    """
    rng = np.random.default_rng(seed)
    targets = label_targets(faces, recipe)
    order = np.empty(0, np.int64)
    while True:
        while len(order) < recipe.batch_size:
            order = np.concatenate([order, rng.permutation(len(faces.images))])
        rows, order = order[: recipe.batch_size], order[recipe.batch_size :]
        yield rows.astype(np.int32), targets[rows]
