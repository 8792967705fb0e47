"""The report of a run: its data, its answers and its page."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fkd_kaggle.data import dataset
from fkd_kaggle.data.corrections import Correction
from fkd_kaggle.ensemble import run_blend
from fkd_kaggle.errors import RunError
from fkd_kaggle.recipes.plans import Member
from fkd_kaggle.report.answers import answer_questions
from fkd_kaggle.report.calibration import member_spread
from fkd_kaggle.report.label_review import describe_review, list_suspicious_labels, weigh_labels
from fkd_kaggle.report.run import render_run_page, write_run_page
from fkd_kaggle.report.run_comparison import collect_comparison_data
from fkd_kaggle.report.run_data import RunData, collect_run_data
from fkd_kaggle.runs.corrections import store_corrections
from fkd_kaggle.runs.folder import Run, load_folds
from fkd_kaggle.runs.predictions import (
    average_out_of_fold,
    load_member_out_of_fold,
    store_out_of_fold,
)


@pytest.fixture(scope="module")
def data(report_run: Run, report_data: Path) -> RunData:
    """The data of ``report_run``."""
    return collect_run_data(report_run, report_data)


def test_the_data_is_json_and_complete(data: RunData, report_run: Run) -> None:
    summary = json.loads(json.dumps(data.summary, allow_nan=False))
    assert summary["run"]["name"] == report_run.name
    assert summary["counts"]["faces"] == summary["counts"]["predicted"] == 150
    scores = report_run.scores
    assert scores is not None
    for name in ("combined", "complete", "partial"):
        found = summary["scores"][name]
        assert found["value"] == pytest.approx(getattr(scores, name), abs=1e-4)
        assert found["low"] < found["value"] < found["high"]
    assert len(summary["members"]) == 4
    assert {one["predictor"] for one in summary["errors"]} == {"blend", "heatmap-small", "deep15"}
    assert len(summary["curves"]) == 8
    assert [one["signal"] for one in summary["calibration"]] == [
        "flip disagreement",
        "spread of the networks",
    ]
    assert summary["calibration"][0]["rank_correlation"] > 0.5


def test_faces_of_excluded_networks_are_not_measured(report_data: Path, tmp_path: Path) -> None:
    from report_runs import make_run

    run = make_run(report_data, tmp_path, "one", noise=1.0)
    training = dataset.read_training(report_data)
    for member in run.plan.members:
        if member.fold == 0:  # worse than the mean face
            rows, predictions = load_member_out_of_fold(run, member)
            store_out_of_fold(run, member, training.ids[rows], predictions + np.float32(40))
    scores = run_blend.blend_run(run, report_data)
    assert len(scores.excluded) == 2
    scored = int((load_folds(run, training) == 1).sum())
    found = collect_run_data(run, report_data)
    assert found.summary["counts"]["predicted"] == scored
    assert found.summary["scores"]["combined"]["value"] == pytest.approx(scores.combined, abs=1e-4)
    other = make_run(report_data, tmp_path, "two", noise=1.5, seed=5)
    (comparison,) = collect_comparison_data([other, run], report_data).summary["comparisons"]
    assert comparison["scores"][0]["count"] == scored


def test_the_mean_of_seeds_is_no_further_network(report_data: Path, tmp_path: Path) -> None:
    from report_runs import make_run

    run = make_run(report_data, tmp_path, "one", noise=1.0, seeds=2)
    networks: dict[tuple[str, bool], list[Member]] = {}
    for member in run.plan.members:
        key = member.recipe.name, member.name.endswith("-s1")
        networks.setdefault(key, []).append(member)
    assert len(networks) == 4
    found = collect_run_data(run, report_data)
    expected = member_spread([average_out_of_fold(run, one, 150) for one in networks.values()])
    assert np.allclose(found.spread, expected, equal_nan=True)
    assert "deep15, seed 1" in found.predictors
    assert len(found.predictors) == 7


def test_the_better_recipe_is_worth_more(data: RunData) -> None:
    value = {one["recipe"]: one for one in data.summary["value"]["recipes"]}
    assert value["heatmap-small"]["change"] > value["deep15"]["change"]
    assert value["heatmap-small"]["alone"] < value["deep15"]["alone"]
    assert len(data.summary["value"]["networks"]) == 4
    weights = [one for one in data.summary["value"]["weights"] if one["keypoint"] == "nose_tip"]
    assert sum(one["weight"] for one in weights if one["annotator"] == "partial") == pytest.approx(
        1
    )


def test_the_answers_agree_with_the_data(data: RunData) -> None:
    answers = {one.question: one for one in answer_questions(data.summary)}
    errors = [one for one in data.summary["errors"] if one["predictor"] == "blend"]
    worst = max(errors, key=lambda one: one["value"])
    assert answers["Which keypoint is worst?"].answer == worst["keypoint"].replace("_", " ")
    assert "trained without corrections" in answers["Did corrections help?"].answer
    assert len(answers["Which labels not to trust?"].labels) <= 5


def test_a_wrong_label_is_the_most_suspicious(report_data: Path) -> None:
    faces = dataset.read_training(report_data)
    keypoints = np.array(faces.keypoints)
    row = int(np.flatnonzero(np.isfinite(keypoints).all((1, 2)))[3])
    random = np.random.default_rng(0)
    predictions = keypoints + random.normal(0, 0.5, keypoints.shape)
    keypoints[row, 10] += 15
    wrong = replace(faces, keypoints=keypoints)
    first = list_suspicious_labels(wrong, weigh_labels(wrong, predictions))[0]
    assert (first.position, first.keypoint, first.verdict) == (row, 10, "label")
    # The prediction is no evidence for a face that the network does not know.
    unknown = np.full(len(keypoints), 5.0)
    first = list_suspicious_labels(wrong, weigh_labels(wrong, predictions, unknown))[0]
    assert (first.position, first.verdict) == (row, "undecided")


def test_errors_of_the_model_are_recognized(report_data: Path) -> None:
    faces = dataset.read_training(report_data)
    random = np.random.default_rng(0)
    predictions = faces.keypoints + random.normal(0, 0.3, faces.keypoints.shape)
    bad = random.permutation(len(predictions))[:60]
    predictions[bad] += random.normal(0, 15, (len(bad), 15, 2))
    reviewed = list_suspicious_labels(faces, weigh_labels(faces, predictions))[:50]
    assert sum(one.verdict == "model" for one in reviewed) > 25
    assert describe_review(reviewed).startswith("Most of the listed labels are likely errors of")


def test_the_page_is_complete_in_one_file(report_run: Run, report_data: Path) -> None:
    page = write_run_page(report_run, report_data)
    text = page.read_text(encoding="utf-8")
    assert page == report_run.path / "report.html"
    assert json.loads((report_run.path / "report.json").read_text())["format"] == 1
    without_scripts = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert not re.findall(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=\"(?!data:|#)", text)
    assert not re.findall(r"https?:", without_scripts)
    policy = html.unescape(re.findall(r'Content-Security-Policy" content="([^"]+)"', text)[0])
    assert "default-src 'none'" in policy
    assert "connect-src 'none'" in policy
    assert "'unsafe-inline'" not in policy.split(";")[1]


def test_names_cannot_become_markup(data: RunData) -> None:
    attack = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\u2028"
    summary = json.loads(json.dumps(data.summary))
    summary["run"]["name"] = summary["run"]["status"] = attack
    summary["sessions"] = [
        {
            "command": attack,
            "started": attack,
            "machine": attack,
            "versions": {attack: attack},
            "seconds": 1.0,
        }
    ]
    summary["recipes"][0]["text"] = attack
    summary["submissions"] = [
        {"file": attack, "created": attack, "expected": 1.0, "public": 1.0, "private": None}
    ]
    summary["members"][0]["stopped"] = attack
    hostile = replace(data, summary=summary, predictors={attack: data.predictors["blend"]})
    text = render_run_page(hostile, attack)
    clean = render_run_page(data, "title")
    assert "<img" not in text
    assert text.count("<script") == clean.count("<script")
    assert text.count("</script") == clean.count("</script")
    assert "\u2028" not in re.findall(r'id="summary-data">(.*?)</script>', text, re.DOTALL)[0]


def test_another_data_set_is_refused(
    report_run: Run, competition_dir: Path, tmp_path: Path
) -> None:
    with pytest.raises(RunError, match="another data set"):
        write_run_page(report_run, competition_dir)


def test_corrections_of_the_run_are_on_the_page(report_data: Path, tmp_path: Path) -> None:
    from report_runs import make_run

    run = make_run(report_data, tmp_path, "one", noise=1.0)
    training = dataset.read_training(report_data)
    plain = make_run(report_data, tmp_path, "plain", noise=1.5, seed=1)
    store_corrections(run, [Correction(1, 0, "moved", 40.0, 41.0)], training)
    page = write_run_page(run, report_data).read_text(encoding="utf-8")
    assert "labels: 1 moved, 0 dropped" in page
    (compared,) = collect_comparison_data([run, plain], report_data).summary["comparisons"]
    assert f"yes, better by {-compared['scores'][0]['value']:.3f} px" in page


def dispensable(data: RunData, scores: list[tuple[float, float, float]]) -> str:
    """Return the answer about networks of one recipe with these (RMSE, low, high)."""
    names = [f"net-f{number}" for number in range(len(scores))]
    summary = {
        **data.summary,
        "value": {
            "recipes": [],
            "networks": [{"member": name, "change": -0.01 * at} for at, name in enumerate(names)],
        },
        "members": [
            {"name": name, "rmse": rmse, "low": low, "high": high}
            for name, (rmse, low, high) in zip(names, scores, strict=True)
        ],
    }
    (answer,) = (one for one in answer_questions(summary) if "dropped" in one.question)
    return answer.answer


def test_a_network_is_dispensable_only_beyond_the_noise_of_its_faces(data: RunData) -> None:
    assert dispensable(data, [(1.2, 1.1, 1.3), (1.3, 1.2, 1.4)]) == "none stands out"
    assert dispensable(data, [(1.2, 1.1, 1.3), (2.3, 2.1, 2.5)]) == "net-f1"
