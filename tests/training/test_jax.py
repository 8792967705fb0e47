"""A training on JAX, in a process of its own, because a process has one Keras backend."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

CODE = """
import json, sys
import numpy as np
import fkd_kaggle as fkd

faces = fkd.make_faces(40)
model = fkd.train(faces, recipe=sys.argv[1], workers=0, verbose=False)
points = model.predict(faces.images[:5])
import keras
print(json.dumps([keras.backend.backend(), points.shape, bool(np.isfinite(points).all()),
                  model.scores.combined]))
"""

# XLA compiles a plain CNN in seconds, and a cascade in a minute.
RECIPE = """
architecture = "plain-cnn"
epochs = 1
batch_size = 16
held_out = 0.3
split = "random"
[options]
filters = [4]
pool_after = [1]
normalise = "none"
dense = []
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_networks_train_and_predict_on_jax(tmp_path: Path) -> None:
    pytest.importorskip("jax")
    (tmp_path / "tiny.toml").write_text(RECIPE)
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", CODE, "tiny.toml"],
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    backend, shape, finite, rmse = json.loads(done.stdout.splitlines()[-1])
    assert backend == "jax"
    assert shape == [5, 15, 2]
    assert finite
    assert 0 < rmse < 30
