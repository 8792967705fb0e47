"""One training of ``leaderboard.py``: trains, predicts the held-out faces and measures.

The practice Kaggle holds out a fifth of the faces and scores; ``pipeline`` trains and predicts;
``ensemble.comparison_results`` measures. A training that was interrupted or killed is resumed with
the time that is left.
"""

from __future__ import annotations

import json
import resource
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from benchmarks.leaderboard_results import Errors, Result, command_line, plan_digest

from fkd_kaggle import files, pipeline
from fkd_kaggle.data import archive, dataset, folds
from fkd_kaggle.data.metrics import combined_rmse, rmse
from fkd_kaggle.ensemble.comparison_results import measure_run
from fkd_kaggle.ensemble.training_estimate import estimate_training, remember_speeds
from fkd_kaggle.keypoints import COMPLETE, NUM_KEYPOINTS, PARTIAL
from fkd_kaggle.practice.dataset import PracticeData, ServedDataset, prepare_dataset
from fkd_kaggle.recipes.plans import Plan, TrainingOptions, make_plan
from fkd_kaggle.runs.folder import Run, is_run, write_folds
from fkd_kaggle.runs.history import read_histories
from fkd_kaggle.runs.members import is_finished, member_progress
from fkd_kaggle.runs.scores import NO_SCORES
from fkd_kaggle.runs.sessions import read_sessions
from fkd_kaggle.training.events import Event
from fkd_kaggle.training.member import read_training_data
from fkd_kaggle.workers.devices import inspect_machine

HOLD_OUT: Final = 0.2
"""Share of the faces that the practice Kaggle holds out."""

FOLDS: Final = 10
"""Number of folds, as in `quick`, `standard` and `winning`. All rows use the same folds."""

OWN_MINUTES: Final = 120.0
"""Time limit of a training with the publication's own schedule."""

_SAVE_SECONDS: Final = 5.0
"""Seconds between two notes of the elapsed time; a killed training loses at most this much."""

_SHORTEST: Final = 15.0
"""Seconds without which a training is not resumed: starting TensorFlow takes about ten."""


@dataclass(frozen=True)
class Job:
    """A training."""

    name: str
    """Name for ``load_recipe``."""
    seed: int
    minutes: float
    schedule: str = "equal"
    """See ``Result.schedule``."""

    @property
    def plan(self) -> Plan:
        """Return the plan: members, folds and time limit."""
        options = TrainingOptions((self.name,), time_limit=self.minutes * 60, seed=self.seed)
        plan = make_plan(options)
        if self.schedule == "own":
            return plan
        ensemble = plan.ensemble
        trained = ensemble.trained_folds or ensemble.folds
        if len(ensemble.members) == 1 and ensemble.name == ensemble.members[0].recipe.name:
            trained = 1
        changed = replace(
            ensemble,
            folds=FOLDS,
            trained_folds=min(trained, FOLDS),
            split="grouped",
            held_out=0.0,
        )
        return replace(plan, ensemble=changed)

    @property
    def title(self) -> str:
        """Return the name of the run."""
        time_ = f"{self.minutes:g}min" if self.schedule == "equal" else "own"
        return f"{self.plan.ensemble.name[:50]}-seed{self.seed}-{time_}"


@dataclass(frozen=True)
class Workplace:
    """The folder of data, runs and submissions, outside the repository."""

    path: Path

    @property
    def data(self) -> Path:
        """Return the folder of the competition's files, as fetched from the practice Kaggle."""
        return self.path / "data"

    @property
    def runs(self) -> Path:
        """Return the folder of the runs."""
        return self.path / "runs"

    def prepare(self, source: Path) -> ServedDataset:
        """Hold out a fifth of the faces and unpack the rest into ``data``.

        Parameters
        ----------
        source
            Folder or zip in the competition's format.
        """
        served = prepare_dataset(self.path / "practice", PracticeData(source, hold_out=HOLD_OUT))
        if not pipeline.is_fetched(self.data):
            archive.unpack(served.archive, self.data)
        return served


def train(job: Job, place: Workplace, source: Path) -> Result | None:
    """Train, or continue a training; return its result, or None after an interruption.

    Parameters
    ----------
    job
        The training.
    place
        Where data and runs are.
    source
        Folder or zip in the competition's format.
    """
    served = place.prepare(source)
    run, clock = _open(job, place)
    left = job.minutes * 60 - clock.elapsed
    todo = [member for member in run.plan.members if not is_finished(run, member)]
    if run.scores is None and todo and left > _SHORTEST:
        began, before = clock.start(), read_histories(run)
        estimate = estimate_training(run.plan, todo, place.data, place.runs, time_limit=left)
        scores = pipeline.train(
            run,
            place.data,
            time_limit=left,
            chosen=[member.name for member in estimate.plan.members],
            on_event=clock.on_event,
            command=command_line(job.name, 1, job.minutes, job.schedule),
            began=began,
        )
        clock.stop()
        if scores is NO_SCORES:
            return None
        remember_speeds(run, estimate, before)
    return _measure(job, run, clock, place, served)


def _open(job: Job, place: Workplace) -> tuple[Run, _Clock]:
    """Open or create the run of a training. All seeds are held out on the same folds."""
    path = place.runs / job.title
    plan = job.plan
    if is_run(path):
        run = Run.open(path)
        if run.plan != plan:
            raise SystemExit(f"{job.name} has changed since {path} was begun: delete that folder")
        return run, _Clock(path)
    run = pipeline.create_run(plan, place.data, place.runs, job.title)
    if job.schedule == "equal":
        training = dataset.read_training(place.data)
        write_folds(path, folds.assign_folds(training, plan.ensemble.folds, 0))
    return run, _Clock(path)


class _Clock:
    """Elapsed time of a training over all its parts, noted in the run's folder."""

    def __init__(self, run: Path) -> None:
        self._path = run / "leaderboard.json"
        note: dict[str, Any] = {}
        if self._path.exists():
            note = json.loads(self._path.read_text(encoding="utf-8"))
        self.elapsed = float(note.get("elapsed", 0.0))
        self.parts = int(note.get("parts", 0))
        self.cores_used = float(note.get("cores_used", 0.0))
        self._before, self._began, self._saved = self.elapsed, 0.0, 0.0

    def start(self) -> float:
        """Begin a part; return its start by ``time.monotonic``."""
        self._began = self._saved = time.monotonic()
        self.parts += 1
        self._cpu = _cpu_seconds()
        self._save()
        return self._began

    def on_event(self, event: Event) -> None:
        """Note the elapsed time every few seconds."""
        if time.monotonic() - self._saved > _SAVE_SECONDS:
            self._save()

    def stop(self) -> None:
        """End a part and note how many cores it used."""
        seconds = time.monotonic() - self._began
        self.cores_used = (_cpu_seconds() - self._cpu) / max(seconds, 1e-6)
        self._save()

    def _save(self) -> None:
        self._saved = time.monotonic()
        self.elapsed = self._before + self._saved - self._began
        note = {"elapsed": self.elapsed, "parts": self.parts, "cores_used": self.cores_used}
        files.write_json(self._path, note)


def _cpu_seconds() -> float:
    """Return the processor time of this process and of its ended workers."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _measure(job: Job, run: Run, clock: _Clock, place: Workplace, served: ServedDataset) -> Result:
    """Predict the held-out faces, score them and return everything that is saved."""
    submission = pipeline.write_run_submission(run, place.data, place.path / "submissions")
    values = served.scorer.read(submission)
    score = served.scorer.score(values)
    measured = measure_run(run, read_training_data(run, place.data))
    scores, session = run.scores, read_sessions(run)[-1]
    return Result(
        name=job.name,
        seed=job.seed,
        minutes=job.minutes,
        schedule=job.schedule,
        digest=plan_digest(job.name),
        cores=inspect_machine().cores,
        keypoints=measured.keypoints,
        out_of_fold=Errors(measured.rmse, measured.rmse_complete, measured.rmse_partial),
        held_out=_held_out_errors(values, served, place.data, _predicted_points(run)),
        public=None if score is None else score.public,
        private=None if score is None else score.private,
        expected=None if scores is None else scores.expected,
        published=_published(run, measured.published_metric, measured.published_value),
        images_per_second=measured.images_per_second,
        epochs={
            member.name: [member_progress(run, member).epoch, run.plan.most_epochs(member)]
            for member in run.plan.members
            if is_finished(run, member)
        },
        parameters=measured.parameters,
        flops=measured.flops,
        seconds=round(clock.elapsed, 1),
        cores_used=round(clock.cores_used, 2),
        interruptions=max(0, clock.parts - 1),
        ended=_endings(run),
        machine=f"{_processor()}, {session.machine}",
        versions=session.versions,
        commit=_commit(),
        command=session.command,
        started=read_sessions(run)[0].started,
        data=run.data,
    )


def _held_out_errors(
    values: np.ndarray, served: ServedDataset, data_dir: Path, points: Sequence[int]
) -> Errors:
    """Return the errors of a submission on the keypoints that the recipe predicts."""
    test, lookup = dataset.read_test_and_lookup(data_dir)
    order = np.argsort(lookup.row_ids)
    faces = np.searchsorted(test.ids, lookup.image_ids[order])
    feature = lookup.features[order]
    shape = (len(test.ids), NUM_KEYPOINTS, 2)
    predictions, labels = np.full(shape, np.nan), np.full(shape, np.nan)
    place = (faces, feature // 2, feature % 2)
    predictions[place], labels[place] = values, served.scorer.solution
    unused = [point for point in range(NUM_KEYPOINTS) if point not in points]
    predictions[:, unused] = np.nan
    annotators = lookup.annotators(test.ids)
    counts = np.zeros((2, NUM_KEYPOINTS))
    np.add.at(counts, (annotators[faces], feature // 2), 1)
    return Errors(
        combined_rmse(predictions, labels, annotators, counts),
        rmse(predictions, labels, annotators == COMPLETE),
        rmse(predictions, labels, annotators == PARTIAL),
    )


def _predicted_points(run: Run) -> list[int]:
    """Return the keypoints that any network of a run predicts."""
    heads = [head for one in run.plan.ensemble.members for head in one.recipe.outputs()]
    return sorted({point for head in heads for point in head})


def _published(run: Run, metric: str, value: float | None) -> dict[str, dict[str, float | None]]:
    """Return the metrics of a publication; an ensemble's from its blend."""
    recipes = [one.recipe for one in run.plan.ensemble.members]
    scores = run.scores
    if len(recipes) == 1 and scores is not None and scores.published_metrics:
        (by_metric,) = scores.published_metrics.values()
        return {
            name: {("ours" if key == "held_out" else key): one for key, one in values.items()}
            for name, values in by_metric.items()
        }
    return {metric: {"ours": value}} if metric != "rmse-px" else {}


def _endings(run: Run) -> str:
    members = [member for member in run.plan.members if is_finished(run, member)]
    endings = sorted({member_progress(run, member).stopped for member in members})
    missing = len(run.plan.members) - len(members)
    return ", ".join([*endings, *([f"{missing} members not trained"] if missing else [])])


def _processor() -> str:
    """Return the name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return "unknown processor"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "unknown processor"


def _commit() -> str:
    """Return the commit of the repository, with "+" if tracked files of the package differ."""

    def git(*arguments: str) -> str:
        here = Path(__file__).parents[2]
        command = ["git", "-C", str(here), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    # Recipe files change when results are written into them; ``Result.digest`` covers them.
    package = ("fkd_kaggle", ":!fkd_kaggle/recipes/*.toml")
    changed = git("status", "--porcelain", "--untracked-files=no", "--", *package)
    return git("rev-parse", "--short=10", "HEAD") + ("+" if changed else "")
