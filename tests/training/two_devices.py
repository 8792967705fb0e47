"""Program of ``test_trainer``: a member is interrupted and resumed on two devices.

    FKD_LOGICAL_CPUS=2 PYTHONPATH=tests python -P tests/training/two_devices.py FOLDER

Prints the largest difference between the weights and optimizer variables of the two devices, and
the number of these variables.
"""

from __future__ import annotations

import contextlib
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from conftest import make_faces

from fkd_kaggle.nn import backend
from fkd_kaggle.recipes.plans import Member
from fkd_kaggle.recipes.schema import Recipe
from fkd_kaggle.training.events import EpochEnded, Event, ignore_events


def main(folder: Path) -> None:
    """Train for two epochs, interrupted after the first."""
    backend.start_keras("float32", together=True)
    import keras

    from fkd_kaggle.training import trainer

    faces = make_faces(32, seed=0)
    recipe = Recipe(
        "tiny",
        architecture="heatmap",
        options={"width": 8, "depth": 1},
        optimizer="muon",
        clip_norm=0.0,
        epochs=2,
        batch_size=8,
    )
    member = Member("tiny-f0", recipe, fold=0, seed=1, share=1.0)

    def interrupt(event: Event) -> None:
        if isinstance(event, EpochEnded):
            raise KeyboardInterrupt

    arguments = (folder, faces, faces, lambda points: 1.0)
    with contextlib.suppress(KeyboardInterrupt):
        trainer.fit_member(member, *arguments, on_event=interrupt)
    callback = keras.callbacks.Callback()
    _, progress = trainer.fit_member(
        replace(member, seed=2), *arguments, on_event=ignore_events, callbacks=[callback]
    )
    assert progress.epoch == 2
    learner = callback.model
    optimizer = learner.optimizer
    assert int(optimizer.iterations.value.values[0]) == 8  # four of them from the checkpoint
    variables = [*learner.network.variables, *optimizer.variables]
    pairs = [variable.value.values for variable in variables]
    difference = max(float(np.abs(a.numpy() - b.numpy()).max()) for a, b in pairs)
    print(difference, len(pairs))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
