"""Run by ``test_training``: a member of two devices is interrupted and goes on.

    FKD_LOGICAL_CPUS=2 python tests/on_two_devices.py FOLDER

Prints how far apart the devices' weights and momenta are in the end, at most, and how many there
are of them.
"""

from __future__ import annotations

import contextlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from conftest import make_faces

from fkd_kaggle.nn import backend
from fkd_kaggle.recipes.plans import Member
from fkd_kaggle.recipes.schema import Recipe
from fkd_kaggle.training.events import EpochEnded, Event, ignore_events


def main(folder: Path) -> None:
    """Train two epochs, interrupted after the first."""
    backend.start_keras("float32", together=True)
    from fkd_kaggle.training import learner, trainer

    faces = make_faces(32, seed=0)
    recipe = Recipe(
        "tiny", architecture="heatmap", options={"width": 8, "depth": 1}, optimizer="muon",
        clip_norm=0.0, epochs=2, batch_size=8,
    )  # fmt: skip
    member = Member("tiny-f0", recipe, fold=0, seed=1, share=1.0)
    learners: list[Any] = []
    make = learner.make_learner

    def keep(*arguments: Any) -> Any:
        learners.append(make(*arguments))
        return learners[-1]

    learner.make_learner = keep  # type: ignore[assignment]

    def interrupt(event: Event) -> None:
        if isinstance(event, EpochEnded):
            raise KeyboardInterrupt

    arguments = (folder, faces, faces, lambda points: 1.0)
    with contextlib.suppress(KeyboardInterrupt):
        trainer.fit_member(member, *arguments, on_event=interrupt)
    _, progress = trainer.fit_member(replace(member, seed=2), *arguments, on_event=ignore_events)
    assert progress.epoch == 2
    optimizer = learners[-1].optimizer
    assert int(optimizer.iterations.value.values[0]) == 8  # four of them from the checkpoint
    values = [v.value.values for v in [*learners[-1].network.variables, *optimizer.variables]]
    apart = max(float(np.abs(one.numpy() - other.numpy()).max()) for one, other in values)
    print(apart, len(values))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
