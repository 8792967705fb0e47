"""Results of commands as JSON documents, for ``--json``; docs/json.md lists the fields.

Fields are added and not renamed or removed within a major version. Numbers that are unknown are
null. Errors of keypoints are in pixels, times in ISO 8601 with their zone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fkd_kaggle.recipes.keys import shipped_parameters

if TYPE_CHECKING:
    from fkd_kaggle.data.submission import LocalSubmission
    from fkd_kaggle.kaggle_api.submissions import LeaderboardRow, SubmissionRecord
    from fkd_kaggle.recipes.schema import Ensemble, Recipe
    from fkd_kaggle.runs.folder import Run


def to_json(document: Mapping[str, Any]) -> str:
    """Return a document as JSON text; NaN and infinity become null, paths and times text."""
    return json.dumps(_plain(document), indent=2, ensure_ascii=True, allow_nan=False)


def runs_document(runs: Iterable[Run]) -> dict[str, Any]:
    """Return runs with their scores, oldest first."""
    return {
        "runs": [
            {
                "name": run.name,
                "path": run.path,
                "created": run.created,
                "status": run.status,
                "recipes": list(run.recipe_digests),
                "members": len(run.plan.members),
                "folds": run.plan.ensemble.folds,
                "seed": run.plan.seed,
                "data": run.data,
                "scores": asdict(scores) if (scores := run.scores) else None,
            }
            for run in runs
        ]
    }


def recipes_document(items: Iterable[Recipe | Ensemble]) -> dict[str, Any]:
    """Return recipes and ensembles."""
    return {"recipes": [_recipe(item) for item in items]}


def leaderboard_document(rows: Iterable[LeaderboardRow], user: str) -> dict[str, Any]:
    """Return rows of the leaderboard; ``user`` marks the own team."""
    return {
        "leaderboard": [
            {
                "rank": row.rank,
                "team": row.team,
                "score": row.score,
                "submitted": row.submitted,
                "own": row.team == user,
            }
            for row in rows
        ]
    }


def submissions_document(
    local: Sequence[LocalSubmission], remote: Sequence[SubmissionRecord] | None
) -> dict[str, Any]:
    """Return local submissions and those on Kaggle, newest first; one entry for both.

    Parameters
    ----------
    local
        Submission files of the submissions folder.
    remote
        Submissions on Kaggle; None if they were not requested.
    """
    records = {record.ref: record for record in remote or ()}
    entries = [_submission(file, records.pop(file.ref or 0, None)) for file in local]
    entries += [_submission(None, record) for record in records.values()]
    entries.sort(key=lambda entry: _plain(entry["created"]) or "", reverse=True)
    return {"submissions": entries}


def _submission(file: LocalSubmission | None, record: SubmissionRecord | None) -> dict[str, Any]:
    """Return the entry of a submission; at least one of both is given."""
    scored = record or file
    assert scored is not None
    return {
        "file": file.path if file else None,
        "file_name": file.path.name if file else record.file_name if record else "",
        "run": (file.run or None) if file else None,
        "created": (file.created if file else None) or (record.submitted if record else None),
        "expected": file.expected if file else None,
        "public_score": scored.public_score,
        "private_score": scored.private_score,
        "ref": record.ref if record else file.ref if file else None,
        "status": record.status if record else None,
        "message": record.message if record else None,
        "error": (record.error or None) if record else None,
    }


def _recipe(item: Recipe | Ensemble) -> dict[str, Any]:
    """Return the entry of a recipe or an ensemble."""
    members = [member.recipe for member in getattr(item, "members", ())]
    counts = [shipped_parameters().get(recipe.name, 0) for recipe in members or [item]]
    return {
        "name": item.name,
        "kind": "ensemble" if members else "recipe",
        "description": item.description,
        "publication": item.publication or None,
        "architecture": getattr(item, "architecture", None),
        "members": [recipe.name for recipe in members],
        "parameters": sum(counts) if all(counts) else None,
        "folds": getattr(item, "folds", None),
        "minutes": getattr(item, "minutes", None) or None,
        "reached": dict(item.reached),
        "published": dict(getattr(item, "published", {})),
    }


def _plain(value: Any) -> Any:
    """Return a value that JSON can represent."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
