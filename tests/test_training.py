"""Training one member: targets, masked losses, networks as described, checkpoints that resume."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from conftest import make_faces
from keras import ops

from fkd_kaggle import models
from fkd_kaggle.data.faces import Faces
from fkd_kaggle.errors import RecipeError, RunError
from fkd_kaggle.keypoints import FLIP_ORDER, NUM_KEYPOINTS, PARTIAL_KEYPOINTS, REGIONS
from fkd_kaggle.nn import backend, losses, warp
from fkd_kaggle.nn import layers as nn_layers
from fkd_kaggle.nn.layers import set_initial_points, to_grey
from fkd_kaggle.recipes import loading, schema
from fkd_kaggle.recipes.plans import Member
from fkd_kaggle.recipes.schema import Augmentation, Ensemble, Recipe
from fkd_kaggle.runs.history import HISTORY
from fkd_kaggle.runs.members import Progress, read_progress
from fkd_kaggle.training import forward, trainer
from fkd_kaggle.training.events import EpochEnded, Event, MemberStarted, OnEvent, ignore_events
from fkd_kaggle.training.learner import Learner, make_learner, make_optimizer
from fkd_kaggle.training.network import (
    build_network,
    flip_averaging_order,
    flip_order,
    label_offset,
    label_targets,
    load_network,
    to_keypoints,
)

ENSEMBLES = [
    name for name in loading.recipe_names() if isinstance(loading.load_recipe(name), Ensemble)
]

TINY = Recipe(
    "tiny", architecture="heatmap", options={"width": 8, "depth": 1}, heatmap_loss=0.5,
    epochs=2, batch_size=8,
)  # fmt: skip


def shipped(name: str) -> Recipe:
    recipe = loading.load_recipe(name)
    assert isinstance(recipe, Recipe)
    return recipe


def convolutions(network: keras.Model) -> list[keras.layers.Layer]:
    return [layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D)]


@pytest.fixture(autouse=True)
def float32() -> None:
    keras.config.set_dtype_policy("float32")


def test_deep15_is_the_network_the_mission_describes() -> None:
    network = build_network(shipped("deep15"))
    layers = convolutions(network)
    filters = [32, 32, 64, 64, 96, 96, 128, 128, 256, 256, 512, 512, 1024, 1024, 1024]
    assert [layer.filters for layer in layers] == filters
    assert {layer.kernel_size for layer in layers} == {(3, 3)}
    kinds = [type(layer).__name__ for layer in network.layers]
    assert kinds.count("BatchNormalization") == kinds.count("LeakyReLU") == 15
    assert kinds.count("MaxPooling2D") == 5
    dropouts = [layer for layer in network.layers if isinstance(layer, keras.layers.Dropout)]
    assert [layer.rate for layer in dropouts] == [0.1]
    dense = [layer for layer in network.layers if isinstance(layer, keras.layers.Dense)]
    # The complete source's 30 outputs and the partial source's 8, both linear.
    assert sorted(layer.units for layer in dense) == [8, 30]
    assert {layer.activation.__name__ for layer in dense} == {"linear"}


def kinds(network: keras.Model) -> list[str]:
    """Return the layers a description speaks of, in order, without what only shapes arrays."""
    named = {
        "Conv2D",
        "LeakyReLU",
        "ReLU",
        "BatchNormalization",
        "MaxPooling2D",
        "Dense",
        "Dropout",
    }
    return [type(layer).__name__ for layer in network.layers if type(layer).__name__ in named]


def dense_units(network: keras.Model) -> list[int]:
    return [layer.units for layer in network.layers if isinstance(layer, keras.layers.Dense)]


def test_farhat_is_the_network_its_source_describes() -> None:
    network = build_network(shipped("farhat"))
    twice = ["Conv2D", "LeakyReLU", "BatchNormalization"] * 2
    assert kinds(network) == [*twice, "MaxPooling2D"] * 5 + twice + ["Dense", "Dropout", "Dense"]
    layers = convolutions(network)
    filters = [32, 32, 64, 64, 96, 96, 128, 128, 256, 256, 512, 512]
    assert [layer.filters for layer in layers] == filters
    assert not any(layer.use_bias for layer in layers)
    assert dense_units(network) == [512, 30]
    assert network.count_params() == 7_268_670


def test_masked_cnn_is_the_network_its_source_describes() -> None:
    network = build_network(shipped("masked-cnn"))
    conv, pool = ["Conv2D", "ReLU"], ["MaxPooling2D"]
    assert kinds(network)[:8] == conv + pool + conv + pool + conv
    assert [layer.filters for layer in convolutions(network)] == [32, 64, 128]
    assert dense_units(network) == [512, 30]
    deep = build_network(shipped("masked-cnn-deep"))
    assert [layer.rate for layer in deep.layers if isinstance(layer, keras.layers.Dropout)][:3] == [
        0.05, 0.1, 0.2,
    ]  # fmt: skip


def test_kachanovskas_networks_are_as_described() -> None:
    baseline = build_network(shipped("kachanovska-baseline"))
    assert kinds(baseline) == [
        "Conv2D", "ReLU", "MaxPooling2D", "Conv2D", "ReLU", "MaxPooling2D",
        "Dense", "Dropout", "Dense", "Dropout", "Dense",
    ]  # fmt: skip
    assert dense_units(baseline)[-1] == 30
    for name, outputs in (("kachanovska-eyes-nose", 14), ("kachanovska-mouth-eyebrows", 16)):
        assert dense_units(build_network(shipped(name)))[-1] == outputs
    branches = build_network(shipped("multi-branch"))
    fed = [layer for layer in convolutions(branches) if layer.input is branches.input]
    assert len(fed) == 2  # one image, two branches that start from it
    assert dense_units(branches)[-1] == 30


def test_kartalovics_ladder_ends_where_deep15_stands() -> None:
    ladder = build_network(shipped("kartalovic"))
    deep15 = build_network(shipped("deep15"))
    assert kinds(ladder)[:-1] == kinds(deep15)[:-2]
    assert [layer.filters for layer in convolutions(ladder)] == [
        layer.filters for layer in convolutions(deep15)
    ]
    assert dense_units(ladder) == [30]


@pytest.mark.parametrize("poolings", [3, 5, 7])
@pytest.mark.parametrize(("count", "dense"), [(5, [64, 32]), (16, [])])
def test_the_ladder_has_every_rung(count: int, dense: list[int], poolings: int) -> None:
    options = {"convolutions": count, "poolings": poolings, "dropout": 0.3, "dense": dense}
    network = models.build_model("plain-cnn", (15,), options)
    assert kinds(network).count("Conv2D") == count
    assert kinds(network).count("MaxPooling2D") == poolings
    assert dense_units(network) == [*dense, 30]


@pytest.mark.parametrize("name", [name for name in loading.recipe_names() if name not in ENSEMBLES])
def test_the_parameters_a_recipe_states_are_its_networks(name: str) -> None:
    recipe = shipped(name)
    assert recipe.parameters == build_network(recipe).count_params()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"convolutions": 17}, "convolutions must be 1 to 16"),
        ({"poolings": 8}, "poolings must be 0 to 7"),
        ({"dropout": 1.5}, "no plain-cnn network has dropout = 1.5"),
        ({"dense": [-3]}, "no plain-cnn network has dense = [-3]"),
        ({"normalise": "batch"}, "normalise must be one of"),
        ({"filters": [8], "pool_after": [2]}, "of 1 convolutions"),
    ],
)
def test_a_network_that_cannot_be_is_one_clear_line(options: dict, says: str) -> None:
    with pytest.raises(RecipeError) as caught:
        models.build_model("plain-cnn", (15,), options)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("scale", "unit"), [("pixels", 1), ("unit", 96), ("centred", 48)])
def test_a_target_scale_is_the_unit_of_head_and_loss(scale: str, unit: float) -> None:
    recipe = replace(TINY, architecture="region", options={"filters": [4]}, heatmap_loss=0,
                     target_scale=scale, loss="mse")  # fmt: skip
    network = build_network(recipe)
    # Keras' own first weights: the answer to a black image is the scale's zero.
    black = ops.convert_to_numpy(network(np.zeros((1, 96, 96, 1), "float32")))
    np.testing.assert_allclose(black, 48 if scale == "centred" else 0, atol=1e-5)
    labels = np.full((2, 3, 2), 40.0, "float32")
    found = float(losses.masked_loss(recipe)(labels, labels + 2))
    assert found == pytest.approx((2 / unit) ** 2, rel=1e-5)


def test_mixed_float16_scales_the_loss() -> None:
    keras.config.set_dtype_policy("mixed_float16")
    learner = make_learner(Member("m", TINY, 0, 0, 1.0), make_faces(4, seed=0))
    assert isinstance(learner.optimizer, keras.optimizers.LossScaleOptimizer)
    # The schedule and the checkpoint reach the optimizer inside.
    learner.optimizer.learning_rate = 0.125
    learner.optimizer.build(learner.network.trainable_variables)
    inner = learner.optimizer.inner_optimizer
    assert float(inner.learning_rate) == 0.125
    kept = {id(variable) for variable in learner.optimizer.variables}
    assert {id(variable) for variable in inner.variables} < kept


@pytest.mark.parametrize(("name", "outputs"), [("eyes-nose", 14), ("mouth-eyebrows", 16)])
def test_region_networks_have_their_outputs(name: str, outputs: int) -> None:
    network = build_network(shipped(name))
    head = network.get_layer("head0")
    assert head.units == outputs


@pytest.mark.parametrize("name", models.architecture_names())
def test_every_architecture_answers_in_pixels(name: str) -> None:
    network = models.build_model(name, (15, 4), {})
    points = ops.convert_to_numpy(network(np.zeros((2, 96, 96, 1), "float32")))
    assert points.shape == (2, 19, 2)
    assert points.dtype == np.float32
    # Untrained, it guesses near the middle rather than anywhere.
    assert np.abs(points - 47.5).max() < 48


@pytest.mark.parametrize("name", ["deep15", "eyes-nose"])
def test_a_regressor_starts_from_the_mean_face(name: str) -> None:
    recipe = shipped(name)
    network = build_network(recipe)
    mean = np.random.default_rng(0).uniform(20, 70, (network.output.shape[1], 2))
    set_initial_points(network, mean)
    points = ops.convert_to_numpy(network(np.full((1, 96, 96, 1), 0.5, "float32")))[0]
    assert np.abs(points - mean).max() < 5


def test_an_unknown_option_is_named() -> None:
    with pytest.raises(RecipeError, match="did you mean 'width'"):
        models.build_model("heatmap", (15,), {"widht": 3})


def test_targets_keep_each_sources_habits_apart() -> None:
    faces = make_faces(4, seed=0)
    labels = label_targets(faces, TINY)
    assert labels.shape == (4, NUM_KEYPOINTS + len(PARTIAL_KEYPOINTS), 2)
    np.testing.assert_array_equal(labels[0, :NUM_KEYPOINTS], faces.keypoints[0])
    assert np.isnan(labels[0, NUM_KEYPOINTS:]).all()
    assert np.isnan(labels[1, :NUM_KEYPOINTS]).all()
    np.testing.assert_array_equal(labels[1, NUM_KEYPOINTS:], faces.keypoints[1, PARTIAL_KEYPOINTS])


def test_outputs_are_read_by_the_faces_own_source() -> None:
    points = np.arange(2 * 19 * 2, dtype=np.float32).reshape(2, 19, 2)
    answers = to_keypoints(points, TINY, np.array([0, 1], np.uint8))
    np.testing.assert_array_equal(answers[0], points[0, :NUM_KEYPOINTS])
    np.testing.assert_array_equal(answers[1, PARTIAL_KEYPOINTS], points[1, NUM_KEYPOINTS:])
    assert np.isfinite(answers).all()
    region = replace(TINY, region="mouth-eyebrows")
    answers = to_keypoints(points[:, :9], region, np.array([0, 1], np.uint8))
    assert np.isnan(answers[:, REGIONS["eyes-nose"]]).all()


@pytest.mark.parametrize("region", sorted(REGIONS))
def test_flipping_outputs_twice_is_no_change(region: str) -> None:
    order = flip_order(replace(TINY, region=region))
    assert [order[place] for place in order] == list(range(len(order)))
    if region == "all":
        assert tuple(order[:NUM_KEYPOINTS]) == FLIP_ORDER


@pytest.mark.parametrize("loss", schema.LOSSES)
def test_the_loss_looks_at_labelled_points_only(loss: str) -> None:
    function = losses.masked_loss(replace(TINY, loss=loss))
    labels = np.full((2, 3, 2), 40.0, "float32")
    points = labels + 2.0
    whole = float(function(labels, points))
    assert whole > 0
    labels[1, 2] = np.nan
    points[1, 2] = 1e6
    assert float(function(labels, points)) == pytest.approx(whole, rel=1e-5)
    labels[:] = np.nan
    assert float(function(labels, points)) == 0.0


def test_a_zero_target_is_a_label() -> None:
    """A point at the frame's corner counts; only NaN means missing."""
    function = losses.masked_loss(replace(TINY, loss="mae"))
    assert (
        float(function(np.zeros((1, 1, 2), "float32"), np.full((1, 1, 2), 3.0, "float32"))) == 3.0
    )


def test_the_map_loss_falls_when_the_peak_is_right() -> None:
    labels = np.array([[[40.0, 20.0]]], "float32")
    flat = np.zeros((1, 24, 24, 1), "float32")
    right, wrong = flat.copy(), flat.copy()
    right[0, 5, 10, 0] = wrong[0, 10, 5, 0] = 5.0
    values = [float(losses.map_loss(labels, maps)) for maps in (right, flat, wrong)]
    assert values[0] < values[1] < values[2]
    assert float(losses.map_loss(np.full_like(labels, np.nan), right)) == 0.0


def test_the_map_loss_is_the_cross_entropy_with_a_gaussian() -> None:
    rng = np.random.default_rng(0)
    labels = rng.uniform(10, 86, (3, 2, 2)).astype("float32")
    labels[1, 0] = np.nan
    maps = rng.normal(50, 4, (3, 24, 24, 2)).astype("float32")
    centres = np.arange(24) * 4 + 1.5
    entropies = []
    for face, point in np.argwhere(np.isfinite(labels[..., 0])):
        x, y = labels[face, point].astype(float)
        wanted = np.exp(-((centres - x) ** 2 + (centres[:, None] - y) ** 2) / (2 * 4.0**2))
        logits = maps[face, :, :, point].astype(float)
        shares = logits - np.log(np.exp(logits).sum())
        entropies.append(-(wanted / wanted.sum() * shares).sum())
    assert float(losses.map_loss(labels, maps)) == pytest.approx(np.mean(entropies), rel=1e-5)


def train(
    recipe: Recipe,
    folder: Path,
    faces: Faces,
    on_event: OnEvent = ignore_events,
    budget: float | None = None,
) -> tuple[keras.Model, Progress]:
    def score(predictions: np.ndarray) -> float:
        return float(np.sqrt(np.nanmean(np.square(predictions - faces.keypoints))))

    member = Member("tiny-f0", recipe, fold=0, seed=1, share=1.0)
    return trainer.fit_member(member, folder, faces, faces, score, budget=budget, on_event=on_event)


def test_training_learns_and_leaves_a_whole_folder(tmp_path: Path) -> None:
    faces = make_faces(16, seed=0)
    still = Augmentation(rotation=0, scale=0, shift=0, flip=0, noise=0)
    recipe = replace(TINY, epochs=30, augmentation=still, learning_rate=1e-2)
    events: list[Event] = []
    network, progress = train(recipe, tmp_path, faces, events.append)
    assert progress.stopped == "finished"
    assert progress.epoch == 30
    values = [event.loss for event in events if isinstance(event, EpochEnded)]
    assert values[-1] < 0.7 * values[0]
    history = (tmp_path / "history.csv").read_text().splitlines()
    assert history[0] == ",".join(HISTORY)
    assert len(history) == 31
    assert not (tmp_path / "checkpoint.npz").exists()
    again = load_network(recipe, tmp_path)
    order = flip_order(recipe)
    np.testing.assert_allclose(
        forward.predict_points(again, faces.images, order),
        forward.predict_points(network, faces.images, order),
        atol=1e-4,
    )


def test_a_step_that_xla_will_not_compile_is_trained_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if this were a GPU, and one operation in the step had no XLA kernel."""
    monkeypatch.setattr(backend, "has_gpu", lambda: True)
    monkeypatch.setattr(backend, "_without_xla", False)

    def kernel(images: Any, matrix: Any) -> Any:
        return ops.image.affine_transform(images, ops.concatenate(
            [ops.reshape(matrix, (-1, 6)), ops.zeros((8, 2))], axis=1))  # fmt: skip

    monkeypatch.setattr(warp, "_warp_by_gather", kernel)
    assert backend.uses_xla()
    faces = make_faces(16, seed=0)
    with pytest.warns(UserWarning, match="XLA failed, training goes on without it"):
        _, progress = train(replace(TINY, epochs=2), tmp_path, faces)
    assert (progress.stopped, progress.epoch) == ("finished", 2)
    assert not backend.uses_xla()


def test_what_fails_without_xla_too_is_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "has_gpu", lambda: True)
    monkeypatch.setattr(backend, "_without_xla", False)
    with_xla: list[bool] = []

    def broken(images: Any, matrix: Any) -> Any:
        with_xla.append(backend.uses_xla())
        raise ValueError("no such face")

    monkeypatch.setattr(warp, "warp_images", broken)
    with (
        pytest.raises(ValueError, match="no such face"),
        pytest.warns(UserWarning, match="XLA failed"),
    ):
        train(TINY, tmp_path, make_faces(16, seed=0))
    assert with_xla == sorted(with_xla, reverse=True)
    assert set(with_xla) == {True, False}


def test_prediction_that_xla_will_not_compile_is_done_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images = make_faces(3, seed=5).images
    network = build_network(TINY)
    plain = forward.predict_points(network, images, None)
    monkeypatch.setattr(backend, "has_gpu", lambda: True)
    monkeypatch.setattr(backend, "_without_xla", False)

    def kernel(faces: Any) -> Any:
        still = np.tile([1.0, 0, 0, 0, 1, 0, 0, 0], (forward._PREDICT_BATCH, 1)).astype("float32")
        grey = ops.cast(faces, "float32")[..., None] / 255.0
        return ops.image.affine_transform(grey, still)

    monkeypatch.setattr(nn_layers, "to_grey", kernel)
    with pytest.warns(UserWarning, match="XLA failed, training goes on without it"):
        again = forward.predict_points(keras.models.clone_model(network), images, None)
    assert again.shape == plain.shape
    assert not backend.uses_xla()


def test_an_interrupted_member_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    faces = make_faces(16, seed=0)
    recipe = replace(TINY, epochs=6)

    def interrupt(event: Event) -> None:
        if isinstance(event, EpochEnded) and event.epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path, faces, interrupt)
    kept = read_progress(tmp_path)
    assert kept.epoch == 3
    assert not kept.stopped
    assert (tmp_path / "best.weights.h5").exists()
    events: list[Event] = []
    _, progress = train(recipe, tmp_path, faces, events.append)
    started = next(event for event in events if isinstance(event, MemberStarted))
    assert started.resumed_epoch == 3
    assert progress.epoch == 6
    assert len((tmp_path / "history.csv").read_text().splitlines()) == 7


def test_a_budget_ends_training_with_usable_weights(tmp_path: Path) -> None:
    faces = make_faces(16, seed=0)
    _, progress = train(replace(TINY, epochs=10_000), tmp_path, faces, budget=8.0)
    assert progress.stopped == "time limit"
    assert progress.seconds < 20
    assert (tmp_path / "best.weights.h5").exists()


def test_early_stopping_keeps_the_best_epoch(tmp_path: Path) -> None:
    scores = iter([5.0, 4.0, 4.5, 4.4, 9.0])
    recipe = replace(TINY, epochs=50, schedule="plateau", patience=2)
    faces = make_faces(16, seed=0)
    member = Member("tiny-f0", recipe, fold=0, seed=1, share=1.0)
    kept: list[float] = []

    def score(predictions: np.ndarray) -> float:
        value = next(scores)
        kept.append(value)
        return value

    _, progress = trainer.fit_member(member, tmp_path, faces, faces, score, on_event=ignore_events)
    assert progress.stopped == "early stopping"
    assert kept == [5.0, 4.0, 4.5, 4.4]
    assert (progress.best_epoch, progress.best_rmse, progress.epoch) == (2, 4.0, 4)


def test_damaged_weights_are_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "best.weights.h5").write_bytes(b"junk")
    with pytest.raises(RunError, match="missing or damaged"):
        load_network(TINY, tmp_path)


def test_prediction_does_not_depend_on_batches_or_neighbours() -> None:
    network = build_network(TINY)
    images = make_faces(300, seed=5).images
    order = flip_order(TINY)
    together = forward.predict_points(network, images, order)
    alone = forward.predict_points(network, images[290:], order)
    np.testing.assert_allclose(together[290:], alone, atol=1e-3)


def test_a_mirrored_face_gets_the_mirrored_answer() -> None:
    """Averaging over a face and its mirror image makes the answer symmetric by construction."""
    network = build_network(TINY)
    images = make_faces(4, seed=5).images
    order = flip_order(TINY)
    straight = forward.predict_points(network, images, order)
    mirrored = forward.predict_points(network, images[:, :, ::-1], order)[:, order]
    mirrored[..., 0] = 95 - mirrored[..., 0]
    np.testing.assert_allclose(mirrored, straight, atol=1e-3)


def test_who_never_saw_a_mirrored_face_is_not_asked_about_one() -> None:
    assert flip_averaging_order(TINY) == flip_order(TINY)
    assert flip_averaging_order(shipped("kartalovic")) is not None  # by its fixed copies
    recipe = shipped("masked-cnn")
    assert flip_averaging_order(recipe) is None
    network = build_network(TINY)
    images = make_faces(300, seed=5).images
    points = forward.predict_points(network, images, None)
    raw = ops.convert_to_numpy(network(to_grey(images[250:])))
    np.testing.assert_allclose(points[250:], raw, atol=1e-3)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_labels_that_all_lie_to_one_side_are_learned_through_mirrored_views(policy: str) -> None:
    """Without the offset the mirrored half of the views pulls the answers back to the middle."""
    keras.config.set_dtype_policy(policy)
    keras.utils.set_random_seed(1)
    recipe = replace(TINY, label_offset=True, loss="mse")
    network = build_network(recipe)
    learner = Learner(network, recipe, seed=0)
    learner.compile(optimizer=keras.optimizers.Adam(0.01))
    faces = make_faces(16, seed=3)
    order = flip_order(recipe)
    before = forward.predict_points(network, faces.images, order)
    # Labels 4 pixels to the right of what the network answers, for every face and output.
    beside = before + np.array([4.0, 0.0], np.float32)
    for _ in range(80):
        learner.train_on_batch(faces.images, beside)
    offset = ops.convert_to_numpy(label_offset(network))
    assert np.all(offset[:, 0] > 2.0)
    right, down = offset.mean(0)
    assert right == pytest.approx(4.0, abs=0.5)
    # Single outputs keep something of what an untrained network makes of turned views.
    assert down == pytest.approx(0.0, abs=0.5)
    assert np.abs(offset[:, 1]).mean() < 0.6


def test_the_label_offset_is_added_once_mirroring_is_undone() -> None:
    recipe = replace(TINY, label_offset=True)
    network = build_network(recipe)
    images = make_faces(3, seed=4).images
    order = flip_order(recipe)
    before = forward.predict_points(network, images, order)
    layer = network.get_layer("label_offset")
    layer.kernel.assign(np.full(layer.kernel.shape, 1 / layer.unit, np.float32))
    after = forward.predict_points(network, images, order)
    np.testing.assert_allclose(after, before + 1.0, atol=1e-4)


def test_faces_kept_on_the_device_are_the_faces_that_rows_name() -> None:
    recipe = replace(TINY, augmentation=schema.AUGMENTATIONS["none"])
    faces = make_faces(8, seed=3)
    network = build_network(recipe)
    rows = np.array([5, 2, 7], np.int32)
    by_row = Learner(network, recipe, 0, faces.images)(rows)
    by_face = Learner(network, recipe, 0)(faces.images[rows])
    np.testing.assert_allclose(by_row, by_face, atol=1e-5)


def test_float16_on_several_devices_has_a_fixed_loss_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras' own lets through what overflows on any device but the first."""
    keras.config.set_dtype_policy("mixed_float16")
    assert make_optimizer(TINY).loss_scale_factor is None
    monkeypatch.setattr(backend, "_strategy", object())
    for name in schema.OPTIMIZERS:
        optimizer = make_optimizer(replace(TINY, optimizer=name))
        assert optimizer.loss_scale_factor == 256.0
    keras.config.set_dtype_policy("mixed_bfloat16")
    assert make_optimizer(TINY).loss_scale_factor is None


def test_on_two_devices_an_interrupted_member_goes_on_alike(tmp_path: Path) -> None:
    program = Path(__file__).with_name("on_two_devices.py")
    done = subprocess.run(
        [sys.executable, program, tmp_path], capture_output=True, text=True, check=False,
        env={**os.environ, backend.LOGICAL_CPUS: "2"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    apart, variables = done.stdout.split()[-2:]
    assert float(apart) == 0.0
    assert int(variables) > 40
