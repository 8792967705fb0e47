"""The files in examples/clusters: job arrays with simulated variables of SLURM."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples" / "clusters"


def run_script(name: str, folder: Path, **variables: str) -> list[str]:
    """Run a script with a fake fkd-kaggle and SLURM's commands; return the calls of fkd-kaggle."""
    calls = folder / "calls"
    for command, text in {
        "fkd-kaggle": f'echo "$@" >> {calls}',
        "ray": "sleep 0.1",
        "srun": 'while [ "${1#-}" != "$1" ]; do [ "$1" = -w ] && shift; shift; done; "$@"',
        "scontrol": "printf 'node1\\nnode2\\n'",
        "hostname": "echo 10.0.0.1 fe80::1",
        "sleep": "true",
    }.items():
        path = folder / "bin" / command
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/bash\n{text}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    environment = {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", **variables}
    subprocess.run(
        ["bash", str(EXAMPLES / name)], cwd=folder, env=environment, check=True, timeout=60
    )
    return calls.read_text().splitlines()


def test_each_task_of_a_job_array_trains_its_shard(tmp_path: Path) -> None:
    for task in "123":
        run_script(
            "job-array.sh",
            tmp_path,
            SLURM_ARRAY_TASK_ID=task,
            SLURM_ARRAY_TASK_COUNT="3",
            OPTIONS="--epochs 1",
        )
    calls = (tmp_path / "calls").read_text().splitlines()
    assert [call.split(" --shard ")[1].split()[0] for call in calls] == ["1/3", "2/3", "3/3"]
    assert all(call.endswith("--epochs 1") for call in calls)


def test_the_last_job_gathers_all_shards(tmp_path: Path) -> None:
    gathered, predicted = run_script("job-array.sh", tmp_path, SHARDS="2")
    assert gathered.startswith("gather runs/shard-1-of-2 runs/shard-2-of-2 --run gathered")
    assert predicted.startswith("predict gathered")


@pytest.mark.parametrize("resumed", [False, True])
def test_a_ray_job_trains_on_its_cluster_and_continues_its_run(
    tmp_path: Path, resumed: bool
) -> None:
    if resumed:
        (tmp_path / "runs" / "slurm").mkdir(parents=True)
    (call,) = run_script("ray-on-slurm.sh", tmp_path, SLURM_JOB_NODELIST="node[1-2]")
    assert "--cluster 10.0.0.1:6379" in call
    assert ("--resume runs/slurm" in call) == resumed
