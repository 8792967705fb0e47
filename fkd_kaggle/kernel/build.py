"""Building kernels: folders that ``kaggle kernels push`` accepts.

A folder contains the metadata and a script or a notebook, which in turn contains the kernel's task
and the package (``script``, ``notebook``). Pushes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Final

from fkd_kaggle import files, formatting
from fkd_kaggle.errors import KernelError
from fkd_kaggle.kernel.job import KernelJob, KernelTask, blend_task, shard_tasks
from fkd_kaggle.kernel.machines import ACCELERATOR, uses_gpu
from fkd_kaggle.kernel.names import check_names, slug_for, title_for
from fkd_kaggle.kernel.notebook import make_notebook
from fkd_kaggle.kernel.script import make_script
from fkd_kaggle.runs.folder import check_run_name

MAX_SOURCE_BYTES: Final = 1_000_000
"""Kaggle refuses kernels whose script or notebook is not smaller than 1 MB ("The kernel source must
be less than 1 megabytes in size")."""

_METADATA: Final = "kernel-metadata.json"


@dataclass(frozen=True)
class PlannedKernel:
    """A kernel of a job: its task and its names."""

    task: KernelTask
    slug: str
    title: str


def planned_kernels(
    job: KernelJob, run_name: str, owner: str
) -> tuple[list[PlannedKernel], PlannedKernel]:
    """Return the kernels of a job.

    Parameters
    ----------
    job
        The training.
    run_name
        Name of the run.
    owner
        Kaggle user who owns the kernels.

    Returns
    -------
    shards : list of PlannedKernel
        Empty for a job of a single kernel.
    last : PlannedKernel
        The kernel that writes the submission: the single kernel, or the blend of the shards.

    Raises
    ------
    KernelError
        There are more shards than members.
    """
    whole = KernelTask(
        job.plan, run_name, session_limit=job.session_limit, corrections=job.corrections
    )
    if job.shards == 1:
        return [], _planned_kernel(whole, job.title)
    shards = [_planned_kernel(task, job.title) for task in shard_tasks(whole, job.shards)]
    kernels = [f"{owner}/{shard.slug}" for shard in shards]
    return shards, _planned_kernel(blend_task(whole, kernels), job.title)


def build_job_folder(
    job: KernelJob, folder: Path, owner: str, run_name: str | None = None
) -> list[Path]:
    """Write the folders of a job's kernels and return them in the order in which to push them.

    Parameters
    ----------
    job
        The training.
    folder
        Folder of a single kernel; with shards, the parent of the kernels' folders.
    owner
        Kaggle user who owns the kernels.
    run_name
        Name of the run; None for a name made from the ensemble's.

    Raises
    ------
    KernelError
        A kernel cannot be built, see :func:`write_kernel`, or there are more shards than members.
    RunError
        The name of the run is not valid for a folder.
    """
    if run_name:
        check_run_name(run_name)
    name = run_name or f"{job.plan.ensemble.name}-1"
    shards, last = planned_kernels(job, name, owner)
    if not shards:
        return [build_kernel_folder(last, job, folder, owner)]
    return [
        build_kernel_folder(kernel, job, folder / kernel.slug, owner) for kernel in (*shards, last)
    ]


def build_kernel_folder(
    kernel: PlannedKernel, job: KernelJob, folder: Path, owner: str, docker_image: str = ""
) -> Path:
    """Write the folder of one kernel of a job and return it; see :func:`write_kernel`."""
    return write_kernel(
        folder,
        kernel.task,
        owner=owner,
        slug=kernel.slug,
        title=kernel.title,
        accelerator=job.accelerator,
        docker_image=docker_image,
        notebook=job.notebook,
    )


def write_kernel(
    folder: Path,
    task: KernelTask,
    *,
    owner: str,
    slug: str,
    title: str,
    accelerator: str = ACCELERATOR,
    private: bool = True,
    kernel_sources: Sequence[str] = (),
    docker_image: str = "",
    notebook: bool = False,
) -> Path:
    """Write a kernel's script and metadata to ``folder`` and return the folder.

    Parameters
    ----------
    folder
        The target folder; made if missing.
    task
        What the kernel does.
    owner, slug
        The kernel is pushed as ``owner/slug``.
    title
        Title on Kaggle. Kaggle derives the slug from it, so it must fit ``slug``.
    accelerator
        Kaggle's name of the machine. A kernel that blends shards gets a machine without one.
    private
        Whether only the owner can see the kernel.
    kernel_sources
        Kernels ("owner/slug") whose output the kernel can read, in addition to ``task.gather``.
    docker_image
        Image in which the kernel must run, as Kaggle names it; empty for Kaggle's newest. A shard
        without an image keeps the one of its first version.
    notebook
        Whether to write a notebook instead of a script.

    Raises
    ------
    KernelError
        Kaggle would refuse the owner, the slug or the title, or the script is too large.
    """
    check_names(owner, slug, title)
    metadata, script = _fill_template(task, notebook=notebook)
    size = len(script.encode())
    if size >= MAX_SOURCE_BYTES:
        raise KernelError(
            f"the kernel's script has {size:,} bytes, Kaggle takes {MAX_SOURCE_BYTES:,}: it "
            "contains the package, the recipes and the corrections; remove files that you added"
        )
    metadata |= {
        "id": f"{owner}/{slug}",
        "title": title,
        "is_private": private,
        "kernel_sources": list(dict.fromkeys([*kernel_sources, *task.gather])),
        # Blending takes a minute and trains no network, so it uses no GPU quota.
        **_machine("None" if task.gather else accelerator),
    }
    if docker_image:
        metadata["docker_image"] = docker_image
    elif task.shard is not None:
        metadata["docker_image_pinning_type"] = "original"
    files.write_text(folder / metadata["code_file"], script)
    files.write_json(folder / _METADATA, metadata)
    return folder


def read_script(folder: Path) -> str:
    """Return the text of the script or of the notebook in a built folder."""
    metadata = json.loads((folder / _METADATA).read_text(encoding="utf-8"))
    return (folder / metadata["code_file"]).read_text(encoding="utf-8")


def _fill_template(task: KernelTask, *, notebook: bool) -> tuple[dict[str, Any], str]:
    """Return the metadata of the template, and the text of the script or of the notebook."""
    template = _templates() / "train-ensemble"
    metadata = json.loads((template / _METADATA).read_text(encoding="utf-8"))
    if notebook:
        metadata["code_file"] = Path(metadata["code_file"]).with_suffix(".ipynb").name
        metadata["kernel_type"] = "notebook"
        return metadata, make_notebook(task)
    text = (template / metadata["code_file"]).read_text(encoding="utf-8")
    return metadata, make_script(text, task)


def _planned_kernel(task: KernelTask, title: str | None) -> PlannedKernel:
    """Return a kernel with names made from ``title``, or from the run's name without a title."""
    if title is None:
        slug = slug_for(task.run_name, task.shard)
        return PlannedKernel(task, slug, title_for(slug))
    if task.shard is not None:
        title = f"{title} shard {task.shard + 1}"
    return PlannedKernel(task, formatting.slug(title), title)


def _templates() -> Traversable:
    """Return the folder of templates, in an installed package or beside it in a checkout."""
    root = resources.files("fkd_kaggle")
    installed = root / "_kernels"
    return installed if installed.is_dir() else Path(str(root)).parent / "kernels"


def _machine(accelerator: str) -> dict[str, Any]:
    """Return the metadata that select a machine.

    Without ``machine_shape``, Kaggle chooses another machine (kaggle-cli, issue 490).
    """
    return {
        "machine_shape": accelerator,
        "enable_gpu": uses_gpu(accelerator),
        "enable_tpu": False,
    }
