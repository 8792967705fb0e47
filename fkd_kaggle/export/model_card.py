"""The model card of an export folder: README.md with the front matter of the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from fkd_kaggle.export.check import Check
from fkd_kaggle.export.formats import Format
from fkd_kaggle.formatting import format_pixels
from fkd_kaggle.keypoints import ANNOTATORS
from fkd_kaggle.recipes.plans import Member
from fkd_kaggle.runs.calibration import Calibration
from fkd_kaggle.runs.folder import Run
from fkd_kaggle.settings import __version__

_DATA = "https://www.kaggle.com/c/facial-keypoints-detection"


def model_card(
    run: Run,
    format_: Format,
    annotator: int,
    check: Check,
    members: Sequence[Member],
    calibration: Calibration | None,
) -> str:
    """Return the text of the model card.

    Parameters
    ----------
    run
        The exported run.
    format_
        Format of the file.
    annotator
        Annotator whose conventions the points follow.
    check
        The measurement of the file.
    members
        The members whose networks the file contains.
    calibration
        Expected errors of the run, if measured.
    """
    return "\n".join(
        [
            *_front_matter(run, format_),
            "",
            f"# Facial keypoints: {run.name}",
            "",
            "15 keypoints of a face (eyes, eyebrows, nose tip, mouth) from a grey image of 96×96 "
            "pixels.",
            "",
            *_usage(format_),
            *_contents(annotator, check, members),
            *_scores(run, check, calibration),
            *_limits(),
        ]
    )


def count_networks(count: int) -> str:
    """Return "1 network", "2 networks" …"""
    return f"{count} network{'' if count == 1 else 's'}"


def _front_matter(run: Run, format_: Format) -> list[str]:
    """Return the YAML block that the Hub reads."""
    library = {"litert": "tflite", "saved-model": "tf-keras", "keras": "keras"}
    lines = [
        "---",
        "license: other",
        "license_name: see-licence-below",
        f"library_name: {library.get(format_.name, format_.name)}",
        "pipeline_tag: keypoint-detection",
        "tags:",
        "- facial-keypoints",
        "- face-landmarks",
        f"- {format_.name}",
        "metrics:",
        "- rmse",
    ]
    scores = run.scores
    if scores is not None and scores.combined is not None:
        lines += [
            "model-index:",
            f"- name: {run.name}",
            "  results:",
            "  - task:",
            "      type: keypoint-detection",
            "    dataset:",
            "      type: facial-keypoints-detection",
            "      name: Kaggle Facial Keypoints Detection",
            "    metrics:",
            "    - type: rmse",
            "      name: cross-validated RMSE in pixels",
            f"      value: {scores.combined:.4f}",
        ]
    return [*lines, "---"]


def _usage(format_: Format) -> list[str]:
    return [
        "## Use",
        "",
        "```sh",
        f"pip install {format_.runtime} numpy",
        "python example.py face.png",
        "```",
        "",
        f"`{format_.file}` maps `images`, (N, 96, 96) uint8, to points, (N, 15, 2) float32: x and "
        "y in",
        "pixels, in the order of `KEYPOINTS` in example.py. Left and right are the subject's. The "
        "centre",
        "of the top left pixel is (0, 0).",
        "",
    ]


def _contents(annotator: int, check: Check, members: Sequence[Member]) -> list[str]:
    recipes = ", ".join(sorted({member.recipe.name for member in members}))
    return [
        "## Contents",
        "",
        f"- Included: {count_networks(len(members))} (recipes: {recipes}), the average over each "
        "face and its mirror",
        "  image, label offsets, blend weights and correction.",
        f"- Points follow the conventions of the annotator `{ANNOTATORS[annotator]}`.",
        "- Not included: the detection of faces, cropping and rotation to the pose of the training "
        "faces,",
        "  and crop search, the second look that `fkd-kaggle predict` takes at badly cropped faces "
        "(up to",
        "  3 % of the faces, with a flip disagreement above 3 pixels).",
        f"- {check.bytes / 1e6:.1f} MB; {check.milliseconds_batch_1:.1f} ms per face one by one, "
        f"{check.milliseconds_batch_64:.1f} ms in batches of 64",
        f"  ({check.runtime}, {check.threads} thread); start-up {check.start_up_seconds:.2f} s.",
        f"- Largest difference from `predict` in float32 on {check.faces} held-out faces: "
        f"{check.largest_difference:.5f} px.",
        f"- Made by fkd-kaggle {__version__} on {datetime.now(UTC):%Y-%m-%d}.",
        "",
    ]


def _scores(run: Run, check: Check, calibration: Calibration | None) -> list[str]:
    scores = run.scores
    if scores is None:
        return ["## Scores", "", "The run has no cross-validated scores.", ""]
    lines = [
        "## Scores",
        "",
        "RMSE per coordinate in pixels of the 96×96 image, on faces that the networks did not see:",
        "",
        "| faces | RMSE |",
        "|---|---|",
        f"| 15 keypoints labelled | {format_pixels(scores.complete)} |",
        f"| 4 keypoints labelled | {format_pixels(scores.partial)} |",
        f"| both, as the competition weights them | {format_pixels(scores.combined)} |",
        f"| expected on the leaderboard | {format_pixels(scores.expected)} |",
        "",
    ]
    if calibration is not None:
        low, high = calibration.rmse[0], calibration.rmse[-1]
        lines += [
            f"The error differs between faces: {low:.2f} px RMSE for the tenth of the faces on "
            f"whose mirror images the networks agree best, {high:.2f} px for the tenth on which "
            "they agree least.",
            "",
        ]
    return lines


def _limits() -> list[str]:
    return [
        "## Data and limits",
        "",
        f"Trained on the training faces of [Kaggle's Facial Keypoints Detection]({_DATA}): 7,049 "
        "grey",
        "faces of 96×96 pixels, mostly frontal, most of them without hats and masks. Profiles, "
        "faces turned",
        "by more than 30°, covered and very small faces have larger errors. The composition of the "
        "data by",
        "age, sex and skin colour is not known; measure the error on your own photos before you "
        "rely on it.",
        "Not for identification of people.",
        "",
        "## Licence",
        "",
        "The program that made this file is MIT licensed. The weights derive from the "
        "competition's data:",
        "its rules decide whether and how you may publish them.",
        "",
    ]
