"""A run in MLflow: parameters, metrics, histories and the report. Needs the extra ``mlflow``."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fkd_kaggle.errors import FkdError, redact
from fkd_kaggle.formatting import first_line
from fkd_kaggle.report.run import PAGE
from fkd_kaggle.runs.folder import Run
from fkd_kaggle.runs.history import read_histories

_EXPERIMENT = "fkd-kaggle"

_ENVIRONMENT = {
    # By default an unreachable server is tried for several minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    # MLflow 3.17 recommends databases, but still writes folders where the user asks for one.
    "MLFLOW_ALLOW_FILE_STORE": "true",
}

_MAX_VALUE = 500
"""Characters of a parameter that every MLflow server accepts."""


@dataclass(frozen=True)
class MlflowLogger:
    """A connection to an MLflow server or folder."""

    uri: str
    client: Any

    def log_run(self, run: Run) -> str:
        """Log a blended run and return the number of the MLflow run.

        Raises
        ------
        FkdError
            The server cannot be reached or refuses; the run itself is complete.
        """
        try:
            return self._log(run)
        except Exception as error:
            raise FkdError(
                f"cannot log run {run.name} to MLflow at {redact(self.uri)}: "
                f"{_first_line(error)}; the run is complete, and "
                f"`fkd-kaggle report {run.name} --mlflow URI` logs it again"
            ) from error

    def _log(self, run: Run) -> str:
        client = self.client
        experiment = client.get_experiment_by_name(_EXPERIMENT)
        number = experiment.experiment_id if experiment else client.create_experiment(_EXPERIMENT)
        tags = {"mlflow.runName": run.name, "status": run.status, "data": run.data}
        logged = client.create_run(number, run_name=run.name, tags=tags).info.run_id
        try:
            self._fill(logged, run)
        except BaseException:
            client.set_terminated(logged, "FAILED")
            raise
        client.set_terminated(logged)
        return str(logged)

    def _fill(self, logged: str, run: Run) -> None:
        """Log a run's parameters, metrics, histories and files to the MLflow run ``logged``."""
        client = self.client
        for name, value in _parameters(run).items():
            client.log_param(logged, name, str(value)[:_MAX_VALUE])
        for name, score in _metrics(run).items():
            client.log_metric(logged, name, score)
        for member, history in read_histories(run).items():
            for epoch, rmse in zip(history["epoch"], history["rmse"], strict=True):
                if rmse == rmse:  # not NaN
                    client.log_metric(logged, f"rmse {member}", float(rmse), step=int(epoch))
        for name in (PAGE, "report.json", "run.json"):
            if (run.path / name).exists():
                client.log_artifact(logged, str(run.path / name))


def connect_mlflow(uri: str) -> MlflowLogger:
    """Return a connection to MLflow, after a first request.

    Parameters
    ----------
    uri
        Address of a server, or ``file:FOLDER``.

    Raises
    ------
    FkdError
        MLflow is not installed, or the server cannot be reached.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        from mlflow.tracking import MlflowClient
    except ImportError:
        raise FkdError("--mlflow needs MLflow: pip install 'fkd-kaggle[mlflow]'") from None
    if uri.startswith("file:") and not uri.startswith("file:/"):
        uri = Path(uri.removeprefix("file:")).resolve().as_uri()
    try:
        client = MlflowClient(tracking_uri=uri)
        client.search_experiments(max_results=1)
    except Exception as error:
        raise FkdError(
            f"cannot reach MLflow at {redact(uri)}: {_first_line(error)}; check --mlflow"
        ) from error
    return MlflowLogger(uri, client)


def _parameters(run: Run) -> dict[str, Any]:
    """Return the plan as flat parameters."""
    plan, ensemble = run.plan, run.plan.ensemble
    values = {
        "ensemble": ensemble.name,
        "folds": ensemble.folds,
        "trained_folds": ensemble.trained_folds or ensemble.folds,
        "blend": ensemble.blend,
        "split": ensemble.split,
        "seed": plan.seed,
        "precision": plan.precision,
        "time_limit": plan.time_limit,
    }
    for line in ensemble.members:
        recipe = line.recipe
        for name in ("architecture", "epochs", "batch_size", "learning_rate", "loss", "optimizer"):
            values[f"{recipe.name}.{name}"] = getattr(recipe, name)
        values[f"{recipe.name}.digest"] = recipe.digest
    return values


def _metrics(run: Run) -> dict[str, float]:
    """Return the scores that are known."""
    scores = run.scores
    if scores is None:
        return {}
    named = {
        name: value
        for name, value in asdict(scores).items()
        if name in ("complete", "partial", "combined", "expected")
    }
    named |= {f"alone {name}": value for name, value in scores.by_member.items()}
    return {name: float(value) for name, value in named.items() if value is not None}


def _first_line(error: Exception) -> str:
    return first_line(redact(str(error)))[:200] or type(error).__name__
