"""A run as one Keras model: (N, 96, 96) uint8 faces → (N, 15, 2) float32 pixels.

The model contains, for one annotator, the networks that the blend uses (``exported_members``), the
average over each face and its mirror image, the label offsets and the blend with its correction.
Flip averaging, label offsets and the blend are linear in the outputs of the networks, so they are
one matrix.

Not included: crop search (``training.crop_search``) and everything that finds faces in photos.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from fkd_kaggle.ensemble.blend import Blend
from fkd_kaggle.ensemble.stacking import Correction, Stack
from fkd_kaggle.errors import RunError
from fkd_kaggle.export.plain_layers import plain_network
from fkd_kaggle.keypoints import ANNOTATORS, IMAGE_SIZE, NUM_KEYPOINTS
from fkd_kaggle.recipes.plans import Member
from fkd_kaggle.recipes.schema import Recipe
from fkd_kaggle.training.label_offset import label_offset_pixels
from fkd_kaggle.training.outputs import flip_averaging_order

_COORDINATES = 2 * NUM_KEYPOINTS


@dataclass(frozen=True)
class LinearMap:
    """``values @ matrix + constant``."""

    matrix: np.ndarray
    """(F, C) float64."""
    constant: np.ndarray
    """(C,) float64."""

    def then(self, factor: np.ndarray, constant: np.ndarray) -> LinearMap:
        """Return this map followed by ``values @ factor + constant``."""
        return LinearMap(self.matrix @ factor, self.constant @ factor + constant)


def build_graph(
    networks: Sequence[keras.Model],
    members: Sequence[Member],
    blend: Blend,
    annotator: int,
) -> keras.Model:
    """Return the model of a run for one annotator, from layers and operations of Keras only.

    Parameters
    ----------
    networks
        The trained networks of the members, built with the dtype policy "float32".
    members
        The members.
    blend
        The run's blend.
    annotator
        Annotator whose conventions the predictions follow: 0 complete, 1 partial.

    Returns
    -------
    A model with the input ``images``, (N, 96, 96) uint8, and the output ``points``, (N, 15, 2)
    float32 pixels.

    Raises
    ------
    RunError
        The run does not predict all 15 keypoints for the annotator.
    """
    used = exported_members(members, blend, annotator)
    pairs = [pair for pair in zip(networks, members, strict=True) if pair[1] in used]
    available = _predicted(used)
    if not available.any(0).all():
        raise RunError(
            f"the run predicts only some of the keypoints for the annotator {ANNOTATORS[annotator]}"
            ": export needs all 15"
        )
    images = keras.Input((IMAGE_SIZE, IMAGE_SIZE), dtype="uint8", name="images")
    # Each face and its mirror image follow each other in the batch. ONNX mirrors a slice of bytes
    # in one step, ``ops.flip`` of floats by several transpositions.
    stacked = ops.stack([images, images[:, :, ::-1]], 1)
    both = _grey(ops.reshape(stacked, (-1, IMAGE_SIZE, IMAGE_SIZE)))
    grey = _grey(images)
    values, blocks = [], []
    for number, (network, member) in enumerate(pairs):
        mirrored = flip_averaging_order(member.recipe) is not None
        plain = plain_network(network, f"network{number}")
        points = plain(both if mirrored else grey, training=False)
        width = 2 * points.shape[1]
        values.append(ops.reshape(points, (-1, width * (2 if mirrored else 1))))
        blocks.append(_member_map(network, member.recipe, annotator))
    joined = values[0] if len(values) == 1 else ops.concatenate(values, -1)
    if blend.member_weights is not None:
        result = _dense(joined, _by_member_weights(blocks, used, blend, annotator), "blend")
    else:
        coordinates = _by_recipe(blocks, used, blend.recipes)
        by_recipe = _available(blend.recipes, used)
        result = _blend(joined, coordinates, blend.stack, by_recipe, annotator)
    points = layers.Reshape((NUM_KEYPOINTS, 2), dtype="float32", name="points")(result)
    return keras.Model(images, points, name="face_keypoints")


def _grey(images: Any) -> Any:
    """Return (B, 96, 96, 1) float32 grey values in [0, 1] of (B, 96, 96) uint8 images."""
    # ONNX Runtime divides arrays whose last axis has one value ten times as slowly.
    return ops.expand_dims(ops.cast(images, "float32") / 255.0, -1)


def exported_members(members: Sequence[Member], blend: Blend, annotator: int) -> list[Member]:
    """Return the members whose networks the model of ``build_graph`` contains."""
    return [
        member
        for member in members
        if member.recipe.rows in ("all", ANNOTATORS[annotator]) and member.name in blend.members
    ]


def _predicted(members: Sequence[Member]) -> np.ndarray:
    """Return (M, 15) bool: the keypoints that each member predicts."""
    known = np.zeros((len(members), NUM_KEYPOINTS), bool)
    for index, member in enumerate(members):
        for points in member.recipe.outputs():
            known[index, list(points)] = True
    return known


def _available(recipes: Sequence[str], members: Sequence[Member]) -> np.ndarray:
    """Return (R, 15) bool: the keypoints that each recipe predicts."""
    known = np.zeros((len(recipes), NUM_KEYPOINTS), bool)
    for member, predicted in zip(members, _predicted(members), strict=True):
        known[recipes.index(member.recipe.name)] |= predicted
    return known


def _by_member_weights(
    blocks: Sequence[LinearMap], members: Sequence[Member], blend: Blend, annotator: int
) -> LinearMap:
    """Return the map from all outputs to the 30 coordinates, with one weight for each member.

    The mean face has a weight too. As in ``blending.apply_weights``, the weights of members
    without a prediction are distributed to the others.
    """
    assert blend.member_weights is not None
    rows = [*(blend.members.index(member.name) for member in members), -1]
    mean_face = blend.mean_face[annotator]  # NaN for keypoints that the annotator never labels
    available = np.vstack([_predicted(members), np.isfinite(mean_face[:, 0])])
    weights = blend.member_weights[annotator].T[rows] * available
    total = weights.sum(0)
    equal = available / np.maximum(available.sum(0), 1)
    weights = np.repeat(np.where(total > 0, weights / np.where(total > 0, total, 1), equal), 2, 1)
    constant = weights[-1] * np.nan_to_num(mean_face).reshape(-1)
    for block, own in zip(blocks, weights[:-1], strict=True):
        constant = constant + block.constant * own
    matrices = [block.matrix * own for block, own in zip(blocks, weights[:-1], strict=True)]
    return LinearMap(np.concatenate(matrices), constant)


def _member_map(network: keras.Model, recipe: Recipe, annotator: int) -> LinearMap:
    """Return the map from a network's flattened outputs to the 30 coordinates.

    The inputs are the (P, 2) outputs for the face and, with flip averaging, those for its mirror
    image. Coordinates that the recipe does not predict are 0.
    """
    flip = flip_averaging_order(recipe)
    heads = recipe.outputs()
    count = sum(len(points) for points in heads)
    offset = np.broadcast_to(label_offset_pixels(network), (count, 2))
    matrix = np.zeros((2, count, 2, _COORDINATES))
    constant = np.zeros(_COORDINATES)
    chosen: dict[int, int] = {}
    start = 0
    for head, points in enumerate(heads):
        if head in (0, annotator):
            chosen.update({point: start + place for place, point in enumerate(points)})
        start += len(points)
    for point, output in chosen.items():
        for axis in (0, 1):
            column = 2 * point + axis
            constant[column] = offset[output, axis]
            if flip is None:
                matrix[0, output, axis, column] = 1
                continue
            matrix[0, output, axis, column] = 0.5
            # The mirror image's x counts from the other side.
            matrix[1, flip[output], axis, column] = -0.5 if axis == 0 else 0.5
            constant[column] += (IMAGE_SIZE - 1) / 2 if axis == 0 else 0
    used = matrix if flip is not None else matrix[:1]
    return LinearMap(used.reshape(-1, _COORDINATES), constant)


def _by_recipe(
    blocks: Sequence[LinearMap], members: Sequence[Member], recipes: Sequence[str]
) -> LinearMap:
    """Return the map from all outputs to the R · 30 coordinates, averaged over each recipe."""
    names = [member.recipe.name for member in members]
    rows = []
    constant = np.zeros((len(recipes), _COORDINATES))
    for block, name in zip(blocks, names, strict=True):
        matrix = np.zeros((len(block.matrix), len(recipes), _COORDINATES))
        matrix[:, recipes.index(name)] = block.matrix / names.count(name)
        constant[recipes.index(name)] += block.constant / names.count(name)
        rows.append(matrix.reshape(len(block.matrix), -1))
    return LinearMap(np.concatenate(rows), constant.reshape(-1))


def _blend(
    joined: Any, coordinates: LinearMap, stack: Stack, available: np.ndarray, annotator: int
) -> Any:
    """Return the (N, 30) blended and corrected coordinates.

    Parameters
    ----------
    joined
        (N, F) outputs of all networks.
    coordinates
        Map of the outputs to the coordinates of each recipe.
    stack
        The run's blend.
    available
        (R, 15) bool, the keypoints that each recipe predicts.
    annotator
        0 complete, 1 partial.
    """
    weights = stack.weights[annotator].T * available
    total = weights.sum(0)
    # As in ``blending.apply_weights``: a plain average where all recipes with weight are missing.
    equal = available / np.maximum(available.sum(0), 1)
    weights = np.where(total > 0, weights / np.where(total > 0, total, 1), equal)
    factor = np.concatenate([np.diag(np.repeat(of_recipe, 2)) for of_recipe in weights])
    correction = stack.corrections[annotator]
    if correction is None or (correction.used & ~available).any():
        return _dense(joined, coordinates.then(factor, np.zeros(_COORDINATES)), "blend")
    centre, selected = _correction_inputs(correction, len(available))
    linear = correction.coefficients[: len(centre)]
    added = np.zeros((len(linear), _COORDINATES))
    columns = (2 * correction.points[:, None] + [0, 1]).reshape(-1)
    added[:, columns] = linear
    constant = np.zeros(_COORDINATES)
    constant[columns] = correction.intercept
    scale = correction.scale[:, None]
    whole = factor + selected @ (added / scale)
    blended = coordinates.then(whole, constant - (centre / correction.scale) @ added)
    result = _dense(joined, blended, "blend")
    if len(correction.coefficients) > len(centre):
        inputs = coordinates.then(selected / correction.scale, -centre / correction.scale)
        result = result + _products(joined, inputs, correction, columns)
    return result


def _correction_inputs(correction: Correction, recipes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the (C,) centres and the (R · 30, C) selection of the correction's inputs."""
    columns = [
        recipe * _COORDINATES + 2 * point + axis
        for recipe in range(recipes)
        for point in np.flatnonzero(correction.used[recipe])
        for axis in (0, 1)
    ]
    selected = np.zeros((recipes * _COORDINATES, len(columns)))
    selected[columns, range(len(columns))] = 1
    return correction.centre, selected


def _products(joined: Any, inputs: LinearMap, correction: Correction, columns: np.ndarray) -> Any:
    """Return the (N, 30) part of a correction that depends on products of its inputs."""
    standard = _dense(joined, inputs, "standardised")
    blocks, start = [], 0
    for count in 2 * correction.used.sum(1):
        one, other = (start + part for part in np.triu_indices(int(count), 1))
        blocks.append(
            ops.multiply(
                ops.take(standard, one.astype(np.int32), axis=1),
                ops.take(standard, other.astype(np.int32), axis=1),
            )
        )
        start += int(count)
    factor = np.zeros((len(correction.coefficients) - start, _COORDINATES))
    factor[:, columns] = correction.coefficients[start:]
    products = blocks[0] if len(blocks) == 1 else ops.concatenate(blocks, -1)
    return _dense(products, LinearMap(factor, np.zeros(_COORDINATES)), "products")


def _dense(values: Any, map_: LinearMap, name: str) -> Any:
    """Return a float32 dense layer that applies a linear map."""
    layer = layers.Dense(map_.matrix.shape[1], dtype="float32", name=name)
    layer.build(tuple(values.shape))
    layer.set_weights([map_.matrix.astype(np.float32), map_.constant.astype(np.float32)])
    return layer(values)
