"""Plain answers to the questions that a report is opened for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fkd_kaggle.formatting import format_pixels
from fkd_kaggle.report.label_review import WRONG_LABEL

_LISTED: Final = 5

_SMALL_CHANGE: Final = 0.003
"""Pixels of change below which a member can be left out."""


@dataclass(frozen=True)
class LabelLink:
    """A label to open in the viewer."""

    face: int
    """Position of the face, from 0."""
    keypoint: int
    text: str


@dataclass(frozen=True)
class Answer:
    """A question with its answer."""

    question: str
    answer: str
    detail: str = ""
    labels: tuple[LabelLink, ...] = ()


EXPECTED: Final = (
    "a held-out face is predicted only by the networks that did not train on it, a test face by "
    "the mean of all networks"
)
"""Why the expected score is below the cross-validated one, as a clause."""


def answer_questions(summary: dict[str, Any]) -> list[Answer]:
    """Return the answers for the top of a report.

    Parameters
    ----------
    summary
        The JSON value of ``run_data``.
    """
    answers = [_quality(summary), _worst_keypoint(summary), _annotators(summary)]
    answers += [_untrusted_labels(summary), _dispensable(summary), _corrections(summary)]
    return [answer for answer in answers if answer is not None]


def worst_keypoint(summary: dict[str, Any]) -> dict[str, Any] | None:
    """Return the entry of the keypoint and annotator with the largest error of the blend."""
    errors = [one for one in summary["errors"] if one["predictor"] == _first_predictor(summary)]
    return max(errors, key=lambda one: one["value"] or 0.0) if errors else None


def _first_predictor(summary: dict[str, Any]) -> str:
    return str(summary["errors"][0]["predictor"]) if summary["errors"] else ""


def _quality(summary: dict[str, Any]) -> Answer:
    scores = summary["scores"]
    means = summary["references"][0]["combined"]
    detail = (
        f"Its 95 % interval: {_range(scores['combined'])}. Column means, without learning, reach "
        f"{format_pixels(means)} px."
    )
    if scores["expected"] is not None:
        detail += (
            f" Expected on the leaderboard: {format_pixels(scores['expected'])} px: {EXPECTED}."
        )
    scored = [one for one in summary["submissions"] if one["public"] is not None]
    if scored:
        detail += f" Submitted: {format_pixels(scored[0]['public'])} px."
    value = f"{format_pixels(scores['combined']['value'])} px cross-validated"
    return Answer("Is this good?", value, detail)


def _worst_keypoint(summary: dict[str, Any]) -> Answer | None:
    worst = worst_keypoint(summary)
    if worst is None:
        return None
    name = worst["keypoint"].replace("_", " ")
    detail = (
        f"{format_pixels(worst['value'])} px ({_range(worst)}), {worst['annotator']} annotator, "
        f"{worst['labels']:,} labels."
    )
    close = sum(
        one["predictor"] == worst["predictor"] and one["high"] >= worst["low"]
        for one in summary["errors"]
        if one["high"] is not None
    )
    if close > 1:
        detail += f" The intervals of {close - 1} other values overlap it."
    return Answer("Which keypoint is worst?", name, detail)


def _annotators(summary: dict[str, Any]) -> Answer | None:
    scores = summary["scores"]
    difference = scores["difference"]
    if difference["value"] is None:
        return None
    value = difference["value"]
    worse = "complete" if value > 0 else "partial"
    both = (
        f"Complete {format_pixels(scores['complete']['value'])} px, partial "
        f"{format_pixels(scores['partial']['value'])} px"
    )
    low, high = sorted(abs(difference[key]) for key in ("low", "high"))
    if difference["low"] <= 0 <= difference["high"]:
        text = "no clear difference"
        return Answer(
            "Complete or partial worse?", text, f"{both}; the interval includes no difference."
        )
    return Answer(
        "Complete or partial worse?",
        f"{worse}, by {abs(value):.3f} px",
        f"{both}; 95 % interval of the difference {low:.3f} to {high:.3f} px. Complete faces have "
        "15 keypoints, partial ones four.",
    )


def _untrusted_labels(summary: dict[str, Any]) -> Answer:
    wrong = [
        one
        for one in summary["review"]
        if one["verdict"] == WRONG_LABEL and one["corrected"] is None
    ]
    links = tuple(
        LabelLink(
            one["row"] - 1,
            summary["keypoints"].index(one["keypoint"]),
            f"row {one['row']}, {one['keypoint'].replace('_', ' ')}",
        )
        for one in wrong[:_LISTED]
    )
    text = f"{len(wrong)} of the {len(summary['review'])} most suspicious"
    detail = "Check the picture before you correct one; many are right." if wrong else ""
    return Answer("Which labels not to trust?", text if wrong else "none stands out", detail, links)


def _dispensable(summary: dict[str, Any]) -> Answer | None:
    recipes = [one for one in summary["value"]["recipes"] if one["change"] is not None]
    if recipes:
        least = min(recipes, key=lambda one: one["change"])
        return _without(
            "Which network could be dropped?", least["recipe"], least["change"], "score"
        )
    networks = [one for one in summary["value"]["networks"] if one["change"] is not None]
    if networks:
        least = min(networks, key=lambda one: one["change"])
        if _is_within_noise(least["member"], summary["members"]):
            return Answer(
                "Which network could be dropped?",
                "none stands out",
                "Each network was scored on the faces of its own fold, and their scores differ by "
                "less than these faces explain.",
            )
        what = "expected score"
        return _without("Which network could be dropped?", least["member"], least["change"], what)
    if len(summary["members"]) < 2:
        return None
    rated = [one for one in summary["members"] if one["rmse"] is not None]
    worst = max(rated, key=lambda one: one["rmse"], default=None)
    if worst is None:
        return None
    return Answer(
        "Which network could be dropped?",
        f"{worst['name']} is the worst",
        f"{format_pixels(worst['rmse'])} px on its held-out faces. The expected score without it "
        "is unknown, because the predictions for test faces are not stored.",
    )


def _is_within_noise(name: str, members: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether the other networks' mean RMSE is in the interval of a network's RMSE."""
    rated = {one["name"]: one for one in members if one["rmse"] is not None}
    others = [one["rmse"] for other, one in rated.items() if other != name]
    if name not in rated or not others or rated[name]["low"] is None:
        return False
    return bool(rated[name]["low"] <= sum(others) / len(others) <= rated[name]["high"])


def _without(question: str, name: str, change: float, what: str) -> Answer:
    """Return the answer for the member that matters least."""
    if change > _SMALL_CHANGE:
        text = f"Without {name}, which matters least, the {what} is worse by {change:.3f} px."
        return Answer(question, "none", text)
    effect = "better" if change < 0 else "worse"
    return Answer(question, name, f"Without it, the {what} is {effect} by {abs(change):.4f} px.")


def _corrections(summary: dict[str, Any]) -> Answer | None:
    counts = summary["corrections"]
    if counts is None:
        return Answer(
            "Did corrections help?",
            "trained without corrections",
            "Correct labels below and train with --corrections; the next report answers this.",
        )
    changed = f"Labels: {counts['moved']} moved, {counts['dropped']} dropped."
    if summary.get("corrections_effect"):
        return Answer(
            "Did corrections help?",
            summary["corrections_effect"]["short"],
            f"{changed} {summary['corrections_effect']['sentence']}",
        )
    return Answer(
        "Did corrections help?",
        "unknown",
        f"{changed} Train the same recipes without corrections, or compare with another run: "
        f"fkd-kaggle report {summary['run']['name']} OTHER.",
    )


def _range(interval: dict[str, Any] | Sequence[float]) -> str:
    """Return the limits of an interval as text."""
    assert isinstance(interval, dict)
    return f"{format_pixels(interval['low'])} to {format_pixels(interval['high'])}"
