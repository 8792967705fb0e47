"""Examples that the help text of each command ends with."""

from __future__ import annotations

from typing import Final

import typer

EXAMPLES: Final[dict[str, tuple[str, ...]]] = {
    "fetch": ("fkd-kaggle fetch", "fkd-kaggle fetch --data-dir /data/faces --quiet"),
    "report": ("fkd-kaggle report", "fkd-kaggle report quick-1 quick-2"),
    "explore": ("fkd-kaggle explore", "fkd-kaggle explore --output figures"),
    "train-ensemble": (
        "fkd-kaggle train-ensemble",
        "fkd-kaggle train-ensemble --recipe quick --time-limit 10m",
        "fkd-kaggle train-ensemble --recipe heatmap:epochs=20,imputation=knn --folds 5",
        "fkd-kaggle train-ensemble --resume quick-1",
    ),
    "compare": (
        "fkd-kaggle compare heatmap-small farhat --budget 10m",
        "fkd-kaggle compare cascade cascade:loss=mse --epochs 20 --seeds 3",
        "fkd-kaggle compare --name compare-1 multi-branch",
    ),
    "submit": (
        "fkd-kaggle submit",
        "fkd-kaggle submit quick-1 --message 'four folds'",
        "fkd-kaggle submit --file my.csv --dry-run",
        "fkd-kaggle submit --via kernel --recipe winning --shards 4",
    ),
    "predict": (
        "fkd-kaggle predict",
        "fkd-kaggle predict quick-1 --submissions-dir out",
        "fkd-kaggle predict quick-1 standard-1",
    ),
    "submissions": (
        "fkd-kaggle submissions",
        "fkd-kaggle submissions --local --json | jq '.submissions[0].public_score'",
    ),
    "leaderboard": ("fkd-kaggle leaderboard --rows 5", "fkd-kaggle leaderboard --json"),
    "practice": (
        "fkd-kaggle practice",
        "fkd-kaggle practice --data facial-keypoints-detection.zip --hold-out 0.2",
        "fkd-kaggle practice --fault 503:times=2 --port 7778",
    ),
    "rehearse": (
        "fkd-kaggle rehearse",
        "fkd-kaggle rehearse --keep rehearsal --time-limit 1m",
        "fkd-kaggle rehearse --via kernel --shards 2",
    ),
    "recipes": (
        "fkd-kaggle recipes",
        "fkd-kaggle recipes heatmap > mine.toml",
        "fkd-kaggle recipes --time 3m",
        "fkd-kaggle recipes --json | jq -r '.recipes[].name'",
    ),
    "gather": ("fkd-kaggle gather runs/standard-shard-1-of-2 runs/standard-shard-2-of-2",),
    "runs": (
        "fkd-kaggle runs",
        "fkd-kaggle runs --json | jq '.runs[-1].scores.combined'",
    ),
    "runs delete": ("fkd-kaggle runs delete quick-1 quick-2",),
    "runs prune": ("fkd-kaggle runs prune", "fkd-kaggle runs prune --keep 3"),
    "runs pack": ("fkd-kaggle runs pack quick-1", "fkd-kaggle runs pack quick-1 -o share/"),
    "runs unpack": (
        "fkd-kaggle runs unpack quick-1.fkdrun.zip",
        "fkd-kaggle runs unpack quick-1.fkdrun.zip --name from-ada",
    ),
    "evaluate": (
        "fkd-kaggle evaluate photos/",
        "fkd-kaggle evaluate photos/ --annotations export.xml --crop detect --json",
    ),
    "distill": ("fkd-kaggle distill", "fkd-kaggle distill quick-1 --time-limit 20m"),
    "export": (
        "fkd-kaggle export",
        "fkd-kaggle export quick-1 --format litert --annotator complete",
        "fkd-kaggle export quick-1 --distilled --output app/model",
    ),
    "demo": ("fkd-kaggle demo", "fkd-kaggle demo quick-1 --port 8080 --no-open"),
    "annotate": (
        "fkd-kaggle annotate photos/",
        "fkd-kaggle annotate party.jpg --csv faces.csv --draw drawn",
        "fkd-kaggle annotate photos/ --points left_eye_center,nose_tip --output eyes.csv",
        "fkd-kaggle annotate photos/ --model mtcnn",
    ),
    "train-photos": (
        "fkd-kaggle train-photos photos/face_keypoints.csv",
        "fkd-kaggle train-photos points.csv --photos photos/ --epochs 30",
    ),
    "doctor": ("fkd-kaggle doctor", "fkd-kaggle doctor --offline --json"),
    "kernel build": (
        "fkd-kaggle kernel build --owner ada && kaggle kernels push -p kernel",
        "fkd-kaggle kernel build --owner ada --notebook --folder notebook",
        "fkd-kaggle kernel build --recipe winning --shards 4",
    ),
    "kernel push": (
        "fkd-kaggle kernel push",
        "fkd-kaggle kernel push --recipe winning --session-limit 12h",
    ),
    "kernel status": ("fkd-kaggle kernel status", "fkd-kaggle kernel status standard-1"),
    "kernel logs": (
        "fkd-kaggle kernel logs",
        "fkd-kaggle kernel logs --follow",
        "fkd-kaggle kernel logs standard-1/2",
    ),
    "kernel output": (
        "fkd-kaggle kernel output",
        "fkd-kaggle kernel output standard-1 --folder files",
    ),
    "kernel stop": ("fkd-kaggle kernel stop", "fkd-kaggle kernel stop standard-1"),
}
"""Command lines by the words of the command."""


def add_examples(group: typer.Typer, prefix: str = "") -> None:
    """End the help text of each command of a group with its examples."""
    for command in group.registered_commands:
        assert command.callback is not None
        name = command.name or command.callback.__name__.replace("_", "-")
        command.epilog = _epilog(prefix + name)
    for subgroup in group.registered_groups:
        assert subgroup.typer_instance is not None
        name = prefix + str(subgroup.typer_instance.info.name)
        if name in EXAMPLES:
            subgroup.typer_instance.info.epilog = _epilog(name)
        add_examples(subgroup.typer_instance, f"{name} ")


def _epilog(name: str) -> str | None:
    """Return the examples of a command as text that Click does not wrap."""
    if name not in EXAMPLES:
        return None
    # The character \b tells Click to keep the lines of a paragraph.
    return "\n".join(("\b", "Examples:", *(f"  {line}" for line in EXAMPLES[name])))
