"""Training one member: loss, schedule, callbacks, checkpoints.

Runs on any Keras backend through ``fit``; knows nothing of folds, blends or files other than the
member's own folder, and prints nothing: it tells ``on_event`` what happens.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from fkd_kaggle import models
from fkd_kaggle.data.faces import Faces
from fkd_kaggle.data.metrics import masked_means
from fkd_kaggle.errors import RecipeError
from fkd_kaggle.keypoints import IMAGE_SIZE
from fkd_kaggle.nn import backend, layers, losses, warp
from fkd_kaggle.nn.muon import Muon
from fkd_kaggle.recipes.plans import Member
from fkd_kaggle.recipes.schema import Recipe
from fkd_kaggle.training import augmentation
from fkd_kaggle.training.network import (
    build_network,
    flip_order,
    initialize_at_mean_face,
    label_offset,
    label_targets,
)

_OUTPUTS = r"(^|/)((coarse_)?maps|head\d+|output\d+)/"
"""Paths of the weights that answers come from directly, which no optimizer for hidden layers suits
(see ``muon``)."""

COARSE = 0.5
"""Weight of a cascade's first network in the loss."""


class Learner(keras.Model):
    """A network together with the random views it is trained through.

    Takes (B, 96, 96) uint8 faces and answers in face pixels, so ``fit`` needs no other input and
    the views run inside the compiled step on the device. Given all the training ``images`` it keeps
    them there too and takes (B,) row numbers instead: a step then waits for nothing from the host.
    """

    def __init__(
        self, network: keras.Model, recipe: Recipe, seed: int, images: np.ndarray | None = None
    ) -> None:
        super().__init__(name="learner")
        self.network = network
        self.recipe = recipe
        self.point_loss = losses.masked_loss(recipe)
        self.flip = flip_order(recipe)
        self.view_seed = keras.random.SeedGenerator(seed)
        self.images = None
        if images is not None:
            self.images = self.add_weight(
                shape=images.shape, dtype="uint8", initializer="zeros", trainable=False,
                autocast=False, name="images",
            )  # fmt: skip
            self.images.assign(images)
        if recipe.heatmap_loss and not any(one.name == "maps" for one in network.layers):
            raise RecipeError(
                f"recipe {recipe.name}: heatmap_loss needs an architecture with heatmaps, "
                f"which {recipe.architecture} is not: set it to 0"
            )
        self.answers = models.through_views(recipe.architecture, network)

    def call(self, faces: Any, training: bool = False) -> Any:
        """Return (B, P, 2) float32 points in face pixels; in training the view and maps as well."""
        if self.images is not None:
            # Whole numbers already, but where Keras only tries the model on made-up input: for
            # several devices, in the compute type.
            faces = ops.take(self.images, ops.cast(faces, "int32"), axis=0)
        images = layers.to_grey(faces)
        if not training:
            return self.network(images, training=False)
        view = augmentation.draw_view(
            ops.shape(images)[0], self.recipe.augmentation, self.view_seed
        )
        images = augmentation.change_lighting(images, self.recipe.augmentation, self.view_seed)
        answers = self.answers(images, view)
        offset = label_offset(self.network)
        for name in ("points", "coarse_points"):
            if name in answers:
                answers[name] = view.to_face(answers[name], self.flip) + offset
        return {**answers, "matrix": view.matrix, "mirrored": view.mirrored}

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Return the loss on points, taken where the labels are, plus that on maps in the view."""
        loss = self.point_loss(y, y_pred["points"])
        if "coarse_points" in y_pred:
            loss = loss + COARSE * self.point_loss(y, y_pred["coarse_points"])
        if self.recipe.heatmap_loss:
            view = warp.View(y_pred["matrix"], y_pred["mirrored"])
            labels = view.to_view(y - label_offset(self.network), self.flip)
            if "coarse_maps" in y_pred:
                share = COARSE * self.recipe.heatmap_loss
                loss = loss + share * losses.map_loss(labels, y_pred["coarse_maps"])
                labels = warp.inverse_transform_points(labels, y_pred["frame"])
            loss = loss + self.recipe.heatmap_loss * losses.map_loss(labels, y_pred["maps"])
        return backend.replica_loss_share(loss)


def make_learner(member: Member, training: Faces) -> Learner:
    """Return the member's untrained network, compiled for training."""
    with backend.distribution_scope():
        network = build_network(member.recipe)
        initialize_at_mean_face(network, _mean_points(label_targets(training, member.recipe)))
        learner = Learner(network, member.recipe, member.seed, training.images)
        compile_learner(learner, make_optimizer(member.recipe))
    return learner


def compile_learner(learner: Learner, optimizer: keras.optimizers.Optimizer) -> None:
    # In mixed float16 this wraps the optimizer in one that scales the loss, or ours does it.
    learner.compile(
        optimizer=optimizer, jit_compile=backend.uses_xla(),
        steps_per_execution=backend.steps_per_execution(),
        auto_scale_loss=backend.fixed_loss_scale() is None,
    )  # fmt: skip


def make_optimizer(recipe: Recipe) -> keras.optimizers.Optimizer:
    """Return the optimizer a recipe asks for."""
    options: dict[str, Any] = {
        "clipnorm": recipe.clip_norm or None, "loss_scale_factor": backend.fixed_loss_scale(),
    }  # fmt: skip
    if recipe.optimizer == "adamw":
        return keras.optimizers.AdamW(
            recipe.learning_rate, weight_decay=recipe.weight_decay, **options
        )
    # None rather than zero saves Keras from multiplying every weight by it.
    options["weight_decay"] = recipe.weight_decay or None
    options |= {"outputs": _OUTPUTS, "together": not backend.is_distributed()}
    if backend.uses_cpu():
        return Muon(recipe.learning_rate, gram=True, **options)
    dtype = keras.config.dtype_policy().compute_dtype
    # Half precision has too small numbers for the squares.
    dtype = "float32" if dtype == "float16" else dtype
    return Muon(recipe.learning_rate, dtype=dtype, **options)


def _mean_points(labels: np.ndarray) -> np.ndarray:
    """Return (P, 2): each target's mean over the faces that have it, the middle where none has."""
    return masked_means(labels, 0, default=(IMAGE_SIZE - 1) / 2)


def shuffled_batches(
    faces: Faces, recipe: Recipe, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (B,) shuffled row numbers and their targets for ever, in batches of full size.

    A generator, not the arrays: ``fit`` over arrays builds a new input pipeline for every epoch,
    which took 5 s a time here, and a last, smaller batch would be compiled for as well.
    """
    rng = np.random.default_rng(seed)
    labels = label_targets(faces, recipe)
    order = np.empty(0, np.int64)
    while True:
        while len(order) < recipe.batch_size:
            order = np.concatenate([order, rng.permutation(len(faces.images))])
        rows, order = order[: recipe.batch_size], order[recipe.batch_size :]
        yield rows.astype(np.int32), labels[rows]
