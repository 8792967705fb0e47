"""An ensemble: members trained fold by fold, blended out of fold, averaged at prediction.

Conducts ``training``, ``blend`` and the run folder. Knows how time is shared between members and
what to do when it runs out or somebody presses Ctrl-C.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fkd_kaggle import backend, blend, faces, files, folds, own_scores, protocol, stacking
from fkd_kaggle.crew import Crew, Hire, Trainer, work_off
from fkd_kaggle.errors import DataError, RunError
from fkd_kaggle.events import (
    EnsembleEnded,
    EnsembleStarted,
    MemberEnded,
    OnEvent,
    Scores,
    ignore,
    in_turn,
)
from fkd_kaggle.faces import Faces
from fkd_kaggle.keypoints import COMPLETE, COUNT, PARTIAL_SOURCE
from fkd_kaggle.progress import Progress, read_progress
from fkd_kaggle.recipes import Member, Plan
from fkd_kaggle.run import Run

if TYPE_CHECKING:
    import keras


_RESERVE = 0.02
"""Share of a time limit kept back for the blend."""


def start(runs_dir: Path, name: str | None, plan: Plan, data_dir: Path) -> Run:
    """Make the run folder for a plan on a data set."""
    return Run.create(runs_dir, name, plan, faces.fingerprint(data_dir))


def train(
    run: Run,
    data_dir: Path,
    *,
    time_limit: float | None = None,
    only: Collection[str] | None = None,
    on_event: OnEvent = ignore,
    tensorboard: bool = False,
    hire: Hire | None = None,
) -> Scores:
    """Train the run's members that are not finished yet, then blend.

    Parameters
    ----------
    time_limit
        Seconds for this call; the plan's own limit when None.
    only
        Names of the members to train, for a shard; the blend is then left to ``finish``.
    hire
        Starts what trains several members at once; None to train one after the other, here.

    Returns
    -------
    The cross-validated scores. After Ctrl-C they are those of what is usable.

    Raises
    ------
    RunError
        The run was made on other data, or interrupted before anything usable was trained.
    """
    began = time.monotonic()
    material = read_material(run, data_dir)
    plan = run.plan
    members = [member for member in plan.members if only is None or member.name in only]
    limit = time_limit if time_limit is not None else plan.time_limit
    run = run.update(status="training")
    todo = [member for member in members if not is_finished(run, member)]
    tell = in_turn(on_event)

    @contextmanager
    def alone(tell: OnEvent) -> Iterator[Crew[Trainer]]:
        def trainer(member: Member, budget: float | None) -> float:
            return train_member(run, member, material, budget, tell, tensorboard)

        policy = backend.start(plan.precision)
        from fkd_kaggle import networks

        networks.check(member.recipe for member in todo)
        yield Crew([trainer], policy)

    with (hire or alone)(tell) as crew:
        tell(
            EnsembleStarted(
                run.name, tuple(member.name for member in members), len(members) - len(todo),
                len(material.training.images), crew.precision, limit,
            )
        )  # fmt: skip
        end = None if limit is None else began + limit * (1 - _RESERVE)
        late = None if limit is None else began + limit
        stopped = work_off(todo, crew, end, tell, late=late)
    if only is not None:
        run.update(status=stopped)
        return Scores(None, None, None, None, {})
    scores = finish(run, data_dir, status=stopped)
    finished = sum(is_finished(run, member) for member in members)
    tell(EnsembleEnded(scores, finished, len(members), time.monotonic() - began, stopped))
    return scores


@dataclass(frozen=True)
class Material:
    """What the members of a run are trained and scored on, read once."""

    training: Faces
    held_out: np.ndarray
    """(N,) int64: the fold in which each training face is held out."""
    test: tuple[Faces, np.ndarray] | None
    """The test faces and their sources, where there is a test set."""
    asked: np.ndarray
    """(2, 15) how many values the lookup table asks for, by source and keypoint."""


def read_material(run: Run, data_dir: Path) -> Material:
    """Read what the run's members are trained on; makes its folds on the first call.

    Raises
    ------
    RunError
        The run was made on other data.
    """
    run.check_data(faces.fingerprint(data_dir))
    training = faces.read_training(data_dir)
    return Material(
        training, _folds(run, training), _test_faces(data_dir), asked_for(data_dir, training)
    )


def train_member(
    run: Run,
    member: Member,
    material: Material,
    budget: float | None,
    on_event: OnEvent,
    tensorboard: bool = False,
) -> float:
    """Train one member and store its predictions; return the seconds besides the training.

    Raises
    ------
    KeyboardInterrupt
        After the member's checkpoint is written.
    """
    from fkd_kaggle import training

    began, before = time.monotonic(), spent(run, member).seconds
    validation = material.training.take(np.nonzero(material.held_out == member.fold)[0])
    rest = material.training.take(np.nonzero(material.held_out != member.fold)[0])
    prepared = protocol.prepare(member.recipe, rest, run.plan.ensemble.split, member.seed)
    watched = prepared.validation or validation

    def score(predictions: np.ndarray, faces: Faces = watched) -> float:
        value = blend.combined(predictions, faces.keypoints, faces.sources, material.asked)
        return float("nan") if value is None else value

    network, progress = training.train(
        member, run.member(member.name), prepared.training, watched, score,
        position=run.plan.members.index(member),
        budget=None if budget is None else budget + before,
        on_event=on_event,
        tensorboard=run.path / "tensorboard" if tensorboard else None,
    )  # fmt: skip
    predictions = _answers(network, member, validation, validation.sources)
    if prepared.copies is not None:
        unseen = protocol.enlarge(validation, member.recipe, member.seed)
        for name, copies in (("copies", prepared.copies), ("unseen_copies", unseen)):
            answers = _answers(network, member, copies, copies.sources)
            own_scores.keep(run, member, name, answers, copies.keypoints)
    _store_held_out(run, member, validation.ids, predictions)
    if material.test is not None:
        # Now, while the network is compiled: `predict` then has nothing left to compute.
        _store_answers(run, member, *material.test, _answers(network, member, *material.test))
    seconds = time.monotonic() - began
    on_event(MemberEnded(member.name, score(predictions, validation), seconds, progress.stopped))
    return seconds - (progress.seconds - before)


def finish(run: Run, data_dir: Path, *, status: str = "finished", expect: bool = True) -> Scores:
    """Fit the blend on the members that are there and write the run's scores.

    Parameters
    ----------
    expect
        Whether to estimate the leaderboard's score, for which the test faces are predicted.

    Raises
    ------
    RunError
        No member is usable yet.
    """
    training_faces = faces.read_training(data_dir)
    members = _usable(run)
    recipes = _recipe_names(members)
    for member in members:
        if not (run.member(member.name) / "out_of_fold.npz").exists():
            _predict_held_out(run, member, training_faces, _folds(run, training_faces))
    stacked = np.stack(
        [_out_of_fold(run, members, recipe, len(training_faces.images)) for recipe in recipes]
    )
    labels, sources = training_faces.keypoints, training_faces.sources
    blended, mixed = stacking.by_name(run.plan.ensemble.blend, stacked, training_faces)
    kept: dict[str, Any] = {"recipes": np.array(recipes), **blended.arrays()}
    with files.atomic_path(run.path / "blend.npz") as path:
        np.savez(path, **kept)
    with files.atomic_path(run.path / "out_of_fold.npz") as path:
        np.savez_compressed(path, predictions=mixed, ids=training_faces.ids)
    asked = asked_for(data_dir, training_faces)
    alone = {
        recipe: blend.combined(one, labels, sources, asked)
        for recipe, one in zip(recipes, stacked, strict=True)
    }
    scores = Scores(
        complete=blend.rmse(mixed, labels, sources == COMPLETE),
        partial=blend.rmse(mixed, labels, sources == PARTIAL_SOURCE),
        combined=blend.combined(mixed, labels, sources, asked),
        expected=None,
        by_member={name: value for name, value in alone.items() if value is not None},
        own=own_scores.collect(run, members, dict(zip(recipes, stacked, strict=True)), labels),
    )
    run = run.update(status=status, scores=scores)
    if expect:
        expected = _expected(run, data_dir, members, recipes, blended.weights, asked)
        plain = blend.apply(stacked, blended.weights, sources)
        simplex = blend.combined(plain, labels, sources, asked)
        if expected is not None and simplex is not None and scores.combined is not None:
            # What a stack gains on held-out faces it is taken to gain on averaged networks too.
            square = expected**2 + scores.combined**2 - simplex**2
            expected = float(np.sqrt(max(square, 0.0)))
        scores = replace(scores, expected=expected)
        run.update(scores=scores)
    return scores


def predict(
    run: Run,
    data_dir: Path,
    wanted: Faces,
    sources: np.ndarray,
    on_progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Return (N, 15, 2) float32 pixels: the ensemble's answer for ``wanted`` faces.

    Parameters
    ----------
    sources
        (N,) uint8: whose habits to answer in, from the lookup table.
    on_progress
        Called with (members done, members).

    Raises
    ------
    RunError
        The run was made on other data or has nothing usable yet.
    """
    run.check_data(faces.fingerprint(data_dir))
    members = _usable(run)
    if not (run.path / "blend.npz").exists():
        finish(run, data_dir, status=run.status)
    predictions = _member_predictions(run, members, wanted, sources, on_progress)
    return _blended(run, members, predictions, sources)


class Predictor:
    """A run's networks, loaded once and asked many times, for faces of no data set.

    Lost faces are not searched for: who cuts crops of photos cuts others then.

    Raises
    ------
    RunError
        The run has nothing usable yet, or was never blended.
    """

    def __init__(self, run: Run) -> None:
        self.run, self.members = run, _usable(run)
        if not (run.path / "blend.npz").exists():
            raise RunError(
                f"run {run.name} was stopped before it was blended: "
                f"go on with `fkd-kaggle train-ensemble --resume {run.name}`"
            )
        backend.start(run.plan.precision)
        from fkd_kaggle import networks

        self.networks = [
            networks.load_network(member.recipe, run.member(member.name)) for member in self.members
        ]

    def __call__(self, images: np.ndarray, source: int = COMPLETE) -> np.ndarray:
        """Return (N, 15, 2) float32 pixels for (N, 96, 96) uint8, in the habits of ``source``."""
        nobody = np.full((len(images), COUNT, 2), np.nan, np.float32)
        wanted = Faces(images, nobody, np.arange(1, len(images) + 1))
        sources = np.full(len(images), source, np.uint8)
        predictions = np.stack(
            [
                _answers(network, member, wanted, sources, again=False)
                for network, member in zip(self.networks, self.members, strict=True)
            ]
        )
        return _blended(self.run, self.members, predictions, sources)


def spent(run: Run, member: Member) -> Progress:
    """Return how far a member's training is."""
    return read_progress(run.member(member.name))


def is_finished(run: Run, member: Member) -> bool:
    """Say whether a member is trained and its held-out predictions are stored."""
    return (run.member(member.name) / "out_of_fold.npz").exists() and bool(
        spent(run, member).stopped
    )


def is_usable(run: Run, member: Member) -> bool:
    """Say whether a member has weights, finished or not."""
    return (run.member(member.name) / "best.weights.h5").exists()


def _usable(run: Run) -> list[Member]:
    members = [member for member in run.plan.members if is_usable(run, member)]
    if not members:
        raise RunError(
            f"run {run.name} has no trained member yet: "
            f"go on with `fkd-kaggle train-ensemble --resume {run.name}`"
        )
    return members


def _folds(run: Run, training_faces: Faces) -> np.ndarray:
    """Return the run's folds, made once and kept."""
    path = run.path / "folds.npy"
    if path.exists():
        return np.load(path)
    plan = run.plan
    held_out = folds.split(
        training_faces, plan.ensemble.folds, plan.seed, how=plan.ensemble.split,
        held_out=plan.ensemble.held_out,
    )  # fmt: skip
    with files.atomic_path(path) as temporary:
        np.save(temporary, held_out)
    return held_out


def asked_for(data_dir: Path, training_faces: Faces) -> np.ndarray:
    """Return (2, 15) how many values the lookup table asks for, by source and keypoint."""
    asked = np.zeros((2, COUNT))
    if _test_faces(data_dir) is None:
        # Training needs no test set; without one the labels' own proportions stand in.
        for own in (COMPLETE, PARTIAL_SOURCE):
            rows = training_faces.keypoints[training_faces.sources == own, :, 0]
            asked[own] = 2 * (~np.isnan(rows)).sum(0)
        return asked
    lookup = faces.read_lookup(data_dir)
    np.add.at(asked, (lookup.sources(lookup.image_ids), lookup.features // 2), 1)
    return asked


def _predict_held_out(
    run: Run, member: Member, training_faces: Faces, held_out: np.ndarray
) -> None:
    rows = np.nonzero(held_out == member.fold)[0]
    validation = training_faces.take(rows)
    predictions = _member_predictions(run, [member], validation, validation.sources)[0]
    _store_held_out(run, member, validation.ids, predictions)


def _store_held_out(run: Run, member: Member, ids: np.ndarray, predictions: np.ndarray) -> None:
    with files.atomic_path(run.member(member.name) / "out_of_fold.npz") as path:
        np.savez_compressed(path, ids=ids, predictions=predictions)


def _out_of_fold(run: Run, members: list[Member], recipe: str, count: int) -> np.ndarray:
    """Return (N, 15, 2): a recipe's predictions for held-out faces, averaged over its seeds."""
    total = np.zeros((count, COUNT, 2), np.float64)
    times = np.zeros((count, 1, 1))
    for member in members:
        if member.recipe.name == recipe:
            with np.load(run.member(member.name) / "out_of_fold.npz") as kept:
                rows = kept["ids"] - 1  # training ids are 1-based row numbers
                total[rows] += kept["predictions"]
                times[rows] += 1
    return np.where(times > 0, total / np.maximum(times, 1), np.nan).astype(np.float32)


def _member_predictions(
    run: Run,
    members: list[Member],
    wanted: Faces,
    sources: np.ndarray,
    on_progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Return (M, N, 15, 2) float32 predictions of each member, kept ones where they are true."""
    result = np.empty((len(members), len(wanted.images), COUNT, 2), np.float32)
    digest = _digest(wanted, sources)
    for index, member in enumerate(members):
        if on_progress:
            on_progress(index, len(members))
        kept = _kept_answers(run, member, digest)
        if kept is None:
            # Not before it is needed: blending what shards have answered takes no network.
            backend.start(run.plan.precision)
            from fkd_kaggle import networks

            network = networks.load_network(member.recipe, run.member(member.name))
            kept = _answers(network, member, wanted, sources)
        result[index] = kept
    if on_progress:
        on_progress(len(members), len(members))
    return result


def _answers(
    network: keras.Model, member: Member, wanted: Faces, sources: np.ndarray, *, again: bool = True
) -> np.ndarray:
    """Return (N, 15, 2) float32 pixels: one network's flip-averaged answer.

    Parameters
    ----------
    again
        Whether it looks again at faces it is lost on (see ``search``).
    """
    from fkd_kaggle import networks, search

    predict = search.predict_points if again else networks.predict_points
    points = predict(network, wanted.images, networks.averaged_flip(member.recipe))
    return networks.to_keypoints(points, member.recipe, sources)


def _store_answers(
    run: Run, member: Member, wanted: Faces, sources: np.ndarray, predictions: np.ndarray
) -> None:
    with files.atomic_path(run.member(member.name) / "test.npz") as path:
        np.savez_compressed(path, digest=_digest(wanted, sources), predictions=predictions)


def _kept_answers(run: Run, member: Member, digest: str) -> np.ndarray | None:
    try:
        with np.load(run.member(member.name) / "test.npz") as kept:
            return kept["predictions"] if str(kept["digest"]) == digest else None
    except (OSError, ValueError, KeyError):
        return None


def _digest(wanted: Faces, sources: np.ndarray) -> str:
    return hashlib.sha256(wanted.images.tobytes() + sources.tobytes()).hexdigest()


def _test_faces(data_dir: Path) -> tuple[Faces, np.ndarray] | None:
    """Return the test faces and their sources; None where there is no test set."""
    try:
        test, lookup = faces.read_test(data_dir), faces.read_lookup(data_dir)
    except DataError:
        return None
    return test, lookup.sources(test.ids)


def _recipe_names(members: list[Member]) -> list[str]:
    return list(dict.fromkeys(member.recipe.name for member in members))


def _blended(
    run: Run, members: list[Member], predictions: np.ndarray, sources: np.ndarray
) -> np.ndarray:
    """Return (N, 15, 2) from (M, N, 15, 2): the members mixed as the run's blend says."""
    with np.load(run.path / "blend.npz") as kept:
        recipes = [str(name) for name in kept["recipes"]]
        blended = stacking.Stack.from_arrays(kept)
    return blended.apply(_by_recipe(predictions, members, recipes), sources)


def _by_recipe(predictions: np.ndarray, members: list[Member], recipes: list[str]) -> np.ndarray:
    """Return (R, N, 15, 2): (M, N, 15, 2) averaged over each recipe's folds and seeds."""
    return np.stack(
        [
            predictions[[member.recipe.name == recipe for member in members]].mean(0)
            for recipe in recipes
        ]
    )


def _expected(
    run: Run,
    data_dir: Path,
    members: list[Member],
    recipes: list[str],
    weights: np.ndarray,
    asked: np.ndarray,
) -> float | None:
    """Return the RMSE to expect on the leaderboard, from out-of-fold errors and test spread.

    An out-of-fold prediction comes from the networks of one fold; a test face gets all folds'
    networks averaged and does better. By how much needs no answers: see ``blend.ambiguity``.
    """
    found = _test_faces(data_dir)
    if found is None:
        return None
    test, sources = found
    training_faces = faces.read_training(data_dir)
    predictions = _member_predictions(run, members, test, sources)
    owner = np.array([recipes.index(member.recipe.name) for member in members])
    shares = weights[:, :, owner] / np.bincount(owner)[owner]
    total = weight = 0.0
    labels, own = training_faces.keypoints, training_faces.sources
    for index, member in enumerate(members):
        with np.load(run.member(member.name) / "out_of_fold.npz") as kept:
            rows, held = kept["ids"] - 1, kept["predictions"]
        squares = np.square(held - labels[rows])
        for source in (COMPLETE, PARTIAL_SOURCE):
            block = squares[own[rows] == source]
            if not len(block):
                continue
            known = np.isfinite(block)
            counts = np.maximum(known.sum((0, 2)), 1)
            mean = np.where(known, block, 0).sum((0, 2)) / counts
            share = asked[source] * shares[source, :, index] * known.any((0, 2))
            total += float((share * mean).sum())
            weight += float(share.sum())
    if not weight:
        return None
    spread = blend.ambiguity(predictions, shares, sources, asked)
    return float(np.sqrt(max(total / weight - spread, 0.0)))
