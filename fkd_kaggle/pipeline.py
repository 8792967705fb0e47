"""The main workflow: fetch the data, train a run, predict the test faces, submit.

The command line, kernels and the rehearsal call these functions. Kaggle is reached only through
the ``Competition`` that a function receives. Nothing is printed.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fkd_kaggle.data import archive, dataset, plausibility, submission, submission_file
from fkd_kaggle.data.corrections import read_corrections
from fkd_kaggle.data.dataset import DataSummary, check_data_folder, read_test_and_lookup
from fkd_kaggle.data.faces import Lookup
from fkd_kaggle.data.submission import Submission
from fkd_kaggle.ensemble import fitting, prediction, run_blend, run_mixture, shards
from fkd_kaggle.ensemble.run_mixture import RunMixture
from fkd_kaggle.ensemble.training_estimate import estimate_training
from fkd_kaggle.errors import DataError, RecipeError, RunError, SubmissionError
from fkd_kaggle.recipes import validation
from fkd_kaggle.recipes.plans import Plan
from fkd_kaggle.runs.corrections import is_trained_with, store_corrections
from fkd_kaggle.runs.folder import Run, assign_plan_folds, is_run, run_name_stem, write_folds
from fkd_kaggle.runs.members import is_finished
from fkd_kaggle.runs.predictions import load_blended_out_of_fold, store_reference_predictions
from fkd_kaggle.runs.scores import Scores, scores_from_dict
from fkd_kaggle.runs.sessions import describe_session, write_session
from fkd_kaggle.training.events import OnEvent, ignore_events
from fkd_kaggle.workers import local, ray_cluster
from fkd_kaggle.workers.devices import inspect_machine

if TYPE_CHECKING:
    from fkd_kaggle.kaggle_api.competition import Competition
    from fkd_kaggle.kaggle_api.download import OnProgress
    from fkd_kaggle.kaggle_api.submissions import SubmissionRecord


def is_fetched(data_dir: Path) -> bool:
    """Return whether the competition's files that are needed are unpacked in ``data_dir``."""
    return all((data_dir / name).is_file() for name in archive.REQUIRED)


def fetch_data(
    competition: Competition,
    data_dir: Path,
    *,
    force: bool = False,
    accept_implausible: bool = False,
    on_progress: OnProgress | None = None,
) -> DataSummary:
    """Download, unpack and check the competition's files.

    Parameters
    ----------
    competition
        The connection to Kaggle.
    data_dir
        Folder that gets the files.
    force
        Whether to download files that exist already.
    accept_implausible
        Whether to accept labels that are not pixels of the faces.
    on_progress
        Called with the progress of the download.

    Returns
    -------
    DataSummary
        Numbers of faces and labels.

    Raises
    ------
    CompetitionError
        Kaggle refuses or cannot be reached.
    DataError
        A file is damaged or not in the competition's format.
    """
    downloaded = competition.download(data_dir, on_progress, force=force)
    archive.unpack(downloaded, data_dir)
    return check_data_folder(data_dir, accept_implausible=accept_implausible)


def create_run(
    plan: Plan,
    data_dir: Path,
    runs_dir: Path,
    name: str | None = None,
    *,
    corrections: Path | None = None,
    predictions_from: Run | None = None,
    accept_implausible: bool = False,
    held_out: np.ndarray | None = None,
) -> Run:
    """Check the data and create a run for a plan; see ``ensemble.fitting.start_run``.

    Parameters
    ----------
    plan
        What to train.
    data_dir
        Folder of the competition's files.
    runs_dir
        Folder of the runs.
    name
        Name of the run. Default: the ensemble's name and the first free number.
    corrections
        corrections.csv to train with; the run keeps a copy. training.csv is not changed.
    predictions_from
        An earlier run of the same data, for recipes with ``outlier_deviations``.
    accept_implausible
        Whether to train on labels that are not pixels of the faces.
    held_out
        (N,) int64, the fold in which each training face is held out. Default: the plan's split.

    Raises
    ------
    DataError
        training.csv is missing or has no label, its labels are implausible, it has fewer faces or
        groups of near-duplicates than folds, or the corrections do not fit it.
    RecipeError
        A batch has more faces than the data, or a recipe needs ``predictions_from``.
    RunError
        A run of this name exists, the name is not valid for a folder, or ``predictions_from`` was
        made on other data or was not blended.
    """
    needing = [one.recipe.name for one in plan.ensemble.members if one.recipe.outlier_deviations]
    if needing and predictions_from is None:
        raise RecipeError(
            f"recipe {needing[0]} has outlier_deviations, which needs predictions: name an earlier "
            "run of the same data with --predictions-from"
        )
    training = dataset.read_plausible_training(data_dir, accept_implausible=accept_implausible)
    validation.check_fits(plan.ensemble, len(training.images))
    found = () if corrections is None else read_corrections(corrections, training)
    if predictions_from is not None:
        predictions_from.check_data(dataset.fingerprint(data_dir))
        load_blended_out_of_fold(predictions_from)  # refuse before a folder is created
    if held_out is None:
        held_out = assign_plan_folds(plan, training)

    def prepare(run: Run) -> None:
        write_folds(run.path, held_out)
        if found:
            store_corrections(run, found, training)
        if predictions_from is not None:
            store_reference_predictions(run, predictions_from)

    return fitting.start_run(runs_dir, name, plan, data_dir, prepare=prepare)


def open_shard_run(
    shard: tuple[int, int],
    plan: Plan,
    data_dir: Path,
    runs_dir: Path,
    name: str | None = None,
    *,
    corrections: Path | None = None,
    predictions_from: Run | None = None,
    accept_implausible: bool = False,
) -> Run:
    """Open or create the run of a shard, so that a batch job that starts again continues.

    Parameters
    ----------
    shard
        Number of the shard, from 1, and number of shards.
    plan
        The plan of all shards.
    data_dir
        Folder of the competition's files.
    runs_dir
        Folder of the runs.
    name
        Name of the run. Default: the ensemble's name and the shard.
    corrections, predictions_from, accept_implausible
        As for ``create_run``.

    Raises
    ------
    FkdError
        There are more shards than members.
    RunError
        A run of this name exists and has another plan, other data or other corrections.
    """
    shards.shard_members(plan, *shard)
    name = name or f"{run_name_stem(plan.ensemble.name)}-shard-{shard[0]}-of-{shard[1]}"
    if is_run(runs_dir / name):
        run = shards.open_shard(runs_dir / name, plan, dataset.fingerprint(data_dir))
        training = dataset.read_training(data_dir)
        found = () if corrections is None else read_corrections(corrections, training)
        if not is_trained_with(run, found, training):
            raise RunError(
                f"run {run.name} exists with other corrections: give the same --corrections, or "
                "choose another name with --run"
            )
    else:
        run = create_run(
            plan,
            data_dir,
            runs_dir,
            name,
            corrections=corrections,
            predictions_from=predictions_from,
            accept_implausible=accept_implausible,
        )
    run.update(shard=shard)
    return run


def gather_runs(
    runs: Sequence[Run],
    data_dir: Path,
    runs_dir: Path,
    name: str | None = None,
    *,
    partial: bool = False,
) -> tuple[Run, Scores]:
    """Merge the runs of shards into a new run and blend it.

    After an error or an interruption, no new run is left.

    Parameters
    ----------
    runs
        Runs with the same plan that trained a part of the members each.
    data_dir
        Folder of the competition's files.
    runs_dir
        Folder of the runs.
    name
        Name of the new run. Default: the ensemble's name and the first free number.
    partial
        Whether to blend although members are missing.

    Returns
    -------
    run
        The new run.
    scores
        Its cross-validated scores.

    Raises
    ------
    RunError
        Plan, folds, corrections or data of the runs differ, members are missing, no member is
        usable, a file of a run cannot be read, or a run of this name exists.
    FkdError
        The disk is full or the new run cannot be written.
    """
    first = runs[0]
    data = dataset.fingerprint(data_dir)
    for run in runs:
        shards.check_shard(run, first, first.plan, data, in_kernels=False)
    missing = shards.missing_shards(runs, first.plan)
    if missing and not partial:
        raise RunError(
            f"not trained: {', '.join(missing)}: add the runs that contain them, or blend without "
            "them with --partial"
        )
    # A folder that exists may contain files that this function has not written.
    is_new = name is None or not (runs_dir / name).exists()
    gathered = fitting.start_run(runs_dir, name, first.plan, data_dir)
    try:
        shards.copy_members(runs, gathered)
        status = "time limit" if missing else "finished"
        scores = run_blend.blend_run(gathered, data_dir, status=status, stored_only=True)
    except BaseException:
        if is_new:
            shutil.rmtree(gathered.path, ignore_errors=True)
        raise
    return gathered, scores


def train(
    run: Run,
    data_dir: Path,
    *,
    time_limit: float | None = None,
    only: Collection[str] | None = None,
    chosen: Collection[str] | None = None,
    workers: int | None = None,
    cluster: str | None = None,
    tensorboard: bool = False,
    on_event: OnEvent = ignore_events,
    command: str = "",
    began: float | None = None,
) -> Scores:
    """Train the members of a run that are not finished, on all devices, and blend them.

    Parameters
    ----------
    run
        A new run, or one to resume.
    data_dir
        Folder of the competition's files.
    time_limit
        Seconds for this call. Default: the plan's own limit.
    only
        Names of the members to train, for a shard, which is not blended. Default: all members.
    chosen
        Names of the members to train in the time limit. Default: those that fit it on this machine
        or on the cluster (``ensemble.training_estimate``); all without a limit.
    workers
        Number of members trained at the same time. Default: one for each GPU or core; 0 to train
        in this process.
    cluster
        Address of a Ray cluster to train on, see ``workers.ray_cluster``. Default: this machine.
    tensorboard
        Whether to write logs for TensorBoard.
    on_event
        Called with each event of the training.
    command
        The command line, for the report; without secrets.
    began
        ``time.monotonic()`` from which the time limit counts. Default: now.

    Returns
    -------
    Scores
        The cross-validated scores; see ``ensemble.fitting.train_run``.

    Raises
    ------
    RunError
        The run was created on other data, or training ended before any member was usable.
    RecipeError
        A network cannot be built.
    """
    if only is None and run.shard is not None:
        only = [member.name for member in shards.shard_members(run.plan, *run.shard)]
    names = [member.name for member in run.plan.members] if only is None else only
    todo = [
        member
        for member in run.plan.members
        if member.name in names and not is_finished(run, member)
    ]
    limit = run.plan.time_limit if time_limit is None else time_limit
    if chosen is None and limit is not None and todo:
        estimate = estimate_training(
            run.plan,
            todo,
            data_dir,
            run.path.parent,
            time_limit=limit,
            workers=workers,
            cluster=cluster,
        )
        chosen = [member.name for member in estimate.plan.members]
    count = sum(chosen is None or member.name in chosen for member in todo)
    if cluster is not None:
        start_workers = ray_cluster.workers_on_cluster(cluster, run, data_dir, count)
    else:
        start_workers = local.workers_for_run(
            run, data_dir, count, workers=workers, tensorboard=tensorboard
        )
    with _recorded_session(run, command):
        return fitting.train_run(
            run,
            data_dir,
            time_limit=time_limit,
            only=only,
            chosen=chosen,
            on_event=on_event,
            tensorboard=tensorboard,
            start_workers=start_workers,
            began=began,
        )


def write_run_submission(
    run: Run,
    data_dir: Path,
    submissions_dir: Path,
    on_progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Predict the test faces with a run and write the submission file.

    Parameters
    ----------
    run
        The run; it is blended first if necessary.
    data_dir
        Folder of the competition's files.
    submissions_dir
        Folder that gets the file.
    on_progress
        Called with the number of members done and the number of members.

    Returns
    -------
    Path
        The submission file, valid for the lookup table.

    Raises
    ------
    DataError
        Test set or lookup table are missing or do not fit each other.
    RunError
        The run was created on other data or has no usable member.
    """
    test, lookup = read_test_and_lookup(data_dir)
    predictions = prediction.predict_run(
        run, data_dir, test, lookup.annotators(test.ids), on_progress
    )
    built = submission.build_submission(predictions, test.ids, lookup)
    return _write_submission(built, lookup, run, submissions_dir)


def write_mixture_submission(
    runs: Sequence[Run],
    data_dir: Path,
    submissions_dir: Path,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[Path, RunMixture]:
    """Predict the test faces with several runs, blend them and write the submission file.

    Parameters
    ----------
    runs
        At least two runs on the same data.
    data_dir
        Folder of the competition's files.
    submissions_dir
        Folder that gets the file.
    on_progress
        Called with the number of members done and the number of members, for each run.

    Returns
    -------
    path
        The submission file.
    mixture
        The blend of the runs with its scores.

    Raises
    ------
    DataError
        Test set or lookup table are missing or do not fit each other.
    RunError
        A run is named twice, was created on other data, or has no trained network.
    """
    mixture = run_mixture.mix_runs(runs, data_dir, on_progress)
    test, lookup = read_test_and_lookup(data_dir)
    built = submission.build_submission(mixture.predictions, test.ids, lookup)
    submission.validate_submission(built, lookup)
    notes = {
        "recipes": {name: one for run in runs for name, one in run.recipe_digests.items()},
        "runs": [run.name for run in runs],
        "scores": asdict(mixture.scores),
        "data": runs[0].data,
    }
    path = submission.write_submission(
        built, submissions_dir, mixture.name, datetime.now(UTC), notes
    )
    return path, mixture


def adopt_submission(csv: Path, run: Run, data_dir: Path, submissions_dir: Path) -> Path:
    """Copy a submission that a kernel wrote with ``run`` to the other submissions.

    Parameters
    ----------
    csv
        The kernel's submission file.
    run
        The run that the kernel trained.
    data_dir
        Folder of the competition's files.
    submissions_dir
        Folder that gets the copy.

    Returns
    -------
    Path
        The copy.

    Raises
    ------
    SubmissionError
        The file is not valid; the message names the row.
    """
    lookup = dataset.read_lookup(data_dir)
    return _write_submission(submission_file.read_submission(csv), lookup, run, submissions_dir)


def submission_scores(path: Path) -> Scores | None:
    """Return the scores of the run that a submission file comes from; None where unknown.

    Parameters
    ----------
    path
        The submission file; the scores are in the record beside it.
    """
    values = submission.read_run_scores(path)
    try:
        return scores_from_dict(values) if values else None
    except (TypeError, AttributeError):  # the record was changed
        return None


def prepare_submission(
    path: Path,
    data_dir: Path,
    submissions_dir: Path,
    *,
    accept_implausible: bool = False,
    write: bool = True,
) -> Path:
    """Check a user's submission file and return the file to upload.

    Parameters
    ----------
    path
        The submission file, plain or packed; see ``submission_file.read_submission_file``.
    data_dir
        Folder of the competition's files.
    submissions_dir
        Folder that gets a plain copy if the file does not have Kaggle's format exactly, or if its
        folder is read-only: the record of an upload is written beside the uploaded file.
    accept_implausible
        Whether to accept locations that are not pixels of faces.
    write
        Whether to write the copy.

    Returns
    -------
    Path
        ``path``, or its plain copy.

    Raises
    ------
    SubmissionError
        The file is not valid; the message names the row.
    """
    found, lookup = submission_file.read_submission_file(path), dataset.read_lookup(data_dir)
    submission.check_row_ids(found.submission.row_ids, lookup.row_ids)
    if not accept_implausible:
        try:
            plausibility.check_locations(
                found.submission.row_ids, found.submission.locations, lookup
            )
        except DataError as error:
            raise SubmissionError(f"{path}: {error}") from None
    submission.validate_submission(found.submission, lookup)
    if not write or (found.is_plain and os.access(path.parent, os.W_OK)):
        return path
    notes = {"source": str(path)}
    return submission.write_submission(
        found.submission, submissions_dir, path.name.split(".")[0], datetime.now(UTC), notes
    )


def upload_submission(
    competition: Competition,
    path: Path,
    message: str,
    on_wait: Callable[[float], None] = lambda waited: None,
    *,
    send: Callable[[], int] | None = None,
    on_resume: Callable[[int], None] = lambda ref: None,
) -> SubmissionRecord:
    """Upload a submission file, wait for its score and record the score beside the file.

    If the same file was uploaded before and Kaggle had not scored it when that call ended, its
    submission is waited for and nothing is uploaded.

    Parameters
    ----------
    competition
        The connection to Kaggle.
    path
        The submission file.
    message
        Description of the submission on Kaggle.
    on_wait
        Called with the seconds waited so far.
    send
        Submits the file in another way and returns Kaggle's number of the submission. Default:
        the file is uploaded.
    on_resume
        Called with Kaggle's number of an earlier submission that is waited for.

    Returns
    -------
    SubmissionRecord
        The scored submission.

    Raises
    ------
    CompetitionError
        Kaggle refuses, cannot be reached or cannot score the file.
    """
    ref = _find_waiting(competition, path)
    if ref is not None:
        on_resume(ref)
    else:
        ref = send() if send is not None else competition.submit(path, message)
        submission.record_score(path, ref=ref, public_score=None, private_score=None, waiting=True)
    record = competition.wait_for_score(ref, on_wait=on_wait)
    submission.record_score(
        path, ref=ref, public_score=record.public_score, private_score=record.private_score
    )
    return record


def find_earlier_submission(
    competition: Competition, path: Path, submissions_dir: Path
) -> SubmissionRecord | None:
    """Return the newest scored submission with the content of a file; None without.

    Parameters
    ----------
    competition
        The connection to Kaggle.
    path
        The submission file. If it waits for its score, ``upload_submission`` continues to wait for
        it, and None is returned.
    submissions_dir
        Folder of earlier files.

    Raises
    ------
    CompetitionError
        Kaggle cannot be reached.
    """
    refs = submission.find_uploads(path, submissions_dir)
    if not refs or _find_waiting(competition, path) is not None:
        return None
    # The numbers may be those of another Kaggle, such as the practice Kaggle.
    known = (one for one in competition.submissions() if one.ref in refs and one.status != "error")
    return next(known, None)


@contextmanager
def _recorded_session(run: Run, command: str) -> Iterator[None]:
    """Record command, machine, versions and duration of a training in the run's folder."""
    machine = inspect_machine()
    session = describe_session(command, machine.cores, len(machine.gpus))
    write_session(run, session)
    began = time.monotonic()
    try:
        yield
    finally:
        write_session(run, replace(session, seconds=round(time.monotonic() - began, 1)))


def _find_waiting(competition: Competition, path: Path) -> int | None:
    """Return the number of a file's earlier submission that can be waited for; None without."""
    ref = submission.find_waiting(path)
    if ref is None:
        return None
    # The number may be that of another Kaggle, such as the practice Kaggle.
    known = (one.ref == ref and one.status != "error" for one in competition.submissions())
    return ref if any(known) else None


def _write_submission(built: Submission, lookup: Lookup, run: Run, submissions_dir: Path) -> Path:
    """Validate a submission and write it with notes about the run."""
    submission.validate_submission(built, lookup)
    scores = run.scores
    notes = {
        "recipes": dict(run.recipe_digests),
        "scores": asdict(scores) if scores else None,
        "data": run.data,
    }
    return submission.write_submission(built, submissions_dir, run.name, datetime.now(UTC), notes)
