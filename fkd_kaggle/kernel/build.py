"""Building a kernel: a folder that ``kaggle kernels push`` accepts, with our package in its script.

Kaggle's machines have no internet, so the script brings the package itself, as a zip in base64.
Nothing but the package's own files goes in: no data, no run, no environment.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import io
import json
import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

from fkd_kaggle import files
from fkd_kaggle.errors import KernelError
from fkd_kaggle.kernel.job import KernelJob, KernelTask, blend_task, shard_tasks
from fkd_kaggle.settings import __version__

MAX_SOURCE_BYTES: Final = 1_000_000
"""Kaggle refuses kernels whose source is larger than a megabyte."""

_MAX_TITLE: Final = 50
"""Longer titles end in "500 - An internal server error" (github.com/Kaggle/kaggle-cli/pull/179)."""

_METADATA: Final = "kernel-metadata.json"

_PACKED: Final = (".py", ".toml", ".typed", ".html")

# Beside our own: what Kaggle's image lacks, pure Python and small.
_BROUGHT_ALONG: Final = ("tomli-w",)


def write_kernel(
    folder: Path,
    job: KernelTask,
    *,
    owner: str,
    slug: str,
    title: str,
    accelerator: str = "NvidiaTeslaT4",
    private: bool = True,
    kernel_sources: Sequence[str] = (),
) -> Path:
    """Write a kernel's script and metadata into ``folder`` and return it.

    Parameters
    ----------
    owner, slug
        The kernel will be ``owner/slug``.
    title
        What Kaggle shows; must be the slug in words, or Kaggle makes up another slug from it.
    accelerator
        Kaggle's name for the machine; "NvidiaTeslaT4" is one with two T4s. A job that only blends
        gets one without.
    kernel_sources
        Kernels ("owner/slug") whose outputs it finds among its inputs; the job's own ``gather``
        ones are added.

    Raises
    ------
    KernelError
        Owner, slug or title are not Kaggle's kind, or the script is too large for Kaggle.
    """
    _check_names(owner, slug, title)
    template = _templates() / "train-ensemble"
    metadata = json.loads((template / _METADATA).read_text(encoding="utf-8"))
    script = _fill_template((template / metadata["code_file"]).read_text(encoding="utf-8"), job)
    size = len(script.encode())
    if size > MAX_SOURCE_BYTES:
        raise KernelError(
            f"the kernel's script has {size:,} bytes, Kaggle takes {MAX_SOURCE_BYTES:,}: "
            "it carries the package and the recipes; leave out what was added to either"
        )
    metadata |= {
        "id": f"{owner}/{slug}",
        "title": title,
        "is_private": private,
        "machine_shape": accelerator,
        "enable_gpu": accelerator.startswith("Nvidia"),
        "enable_tpu": accelerator.startswith("Tpu"),
        "kernel_sources": list(dict.fromkeys([*kernel_sources, *job.gather])),
    }
    if job.gather:
        # Blending takes a minute and no network: no reason to spend GPU quota on it.
        del metadata["machine_shape"]
        metadata["enable_gpu"] = metadata["enable_tpu"] = False
    files.write_text(folder / metadata["code_file"], script)
    files.write_json(folder / _METADATA, metadata)
    return folder


def slug_for(run_name: str, shard: int | None = None) -> str:
    """Return a kernel's name: the run's, for its whole training or the blend of its shards.

    At most 50 characters of a–z, 0–9 and "-"; a long run name is cut and told apart by its hash.
    """
    words = re.sub(r"[^a-z0-9]+", "-", run_name.lower()).strip("-")
    ending = "" if shard is None else f"-shard-{shard + 1}"
    room = _MAX_TITLE - len("fkd-") - len(ending)
    if len(words) > room:
        mark = hashlib.sha256(run_name.encode()).hexdigest()[:6]
        words = f"{words[: room - 7].rstrip('-')}-{mark}"
    return f"fkd-{words}{ending}"


def title_for(slug: str) -> str:
    """Return the title that Kaggle turns back into ``slug``."""
    return " ".join(word.capitalize() for word in slug.split("-"))


def pack_package() -> bytes:
    """Return a zip of this package as it is installed; the same bytes for the same files."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, content in sorted((*_own_files(), *_packed_dependencies())):
            entry = zipfile.ZipInfo(name)  # its default time is 1980, whenever it is built
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content)
    return target.getvalue()


def _fill_template(script: str, job: KernelTask) -> str:
    """Put job and package into the template."""
    made = f"Made by `fkd-kaggle kernel build`, version {__version__}, for run {job.run_name}."
    encoded = base64.encodebytes(pack_package()).decode("ascii")
    for mark, filling in (
        ("Made by `fkd-kaggle kernel build`.", made),
        ('JOB = r"""{}"""', f'JOB = r"""{job.to_json()}"""'),
        ('PACKAGE = """"""', f'PACKAGE = """\n{encoded}"""'),
    ):
        if script.count(mark) != 1:
            raise KernelError(
                f"the kernel's template has no line {mark!r}: install the package anew"
            )
        script = script.replace(mark, filling)
    return script


def _templates() -> Traversable:
    """Return the folder of kernels: in an installed package, or in the checkout it runs from."""
    root = resources.files("fkd_kaggle")
    installed = root / "_kernels"
    return installed if installed.is_dir() else Path(str(root)).parent / "kernels"


def _own_files() -> Iterator[tuple[str, bytes]]:
    yield from _walk(resources.files("fkd_kaggle"), "fkd_kaggle")


def _walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, bytes]]:
    for item in folder.iterdir():
        name = f"{prefix}/{item.name}"
        if item.is_dir() and item.name not in ("__pycache__", "_kernels"):
            yield from _walk(item, name)
        elif item.is_file() and item.name.endswith(_PACKED):
            yield name, item.read_bytes()


def _packed_dependencies() -> Iterator[tuple[str, bytes]]:
    """Yield what a wheel has installed, licence included, without what pip notes beside it."""
    for distribution in _BROUGHT_ALONG:
        for path in importlib.metadata.files(distribution) or ():
            if path.suffix == ".py" or "LICENSE" in path.name:
                yield path.as_posix(), path.read_binary()


def _check_names(owner: str, slug: str, title: str) -> None:
    for what, value in (("owner", owner), ("name", slug)):
        if not re.fullmatch(r"[A-Za-z0-9]+(-[A-Za-z0-9]+)*", value):
            raise KernelError(
                f"a kernel's {what} has letters, digits and single '-' between them, not {value!r}"
            )
    if not 5 <= len(title) <= _MAX_TITLE:
        raise KernelError(
            f"a kernel's title has 5 to {_MAX_TITLE} characters, not {len(title)}: {title!r}"
        )
    becomes = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
    if becomes != slug.lower():
        raise KernelError(
            f"Kaggle would turn the title {title!r} into the name {becomes!r}, not {slug!r}: "
            f"call it {title_for(slug)!r}"
        )


@dataclass(frozen=True)
class PlannedKernel:
    """One kernel to run."""

    job: KernelTask
    slug: str
    title: str


def build_job_folder(
    order: KernelJob, folder: Path, owner: str, run_name: str | None = None
) -> list[Path]:
    """Write the folders that ``kaggle kernels push`` takes, one for each kernel; push nothing."""
    name = run_name or f"{order.plan.ensemble.name}-1"
    shards, last = planned_kernels(order, name, owner)
    if not shards:
        return [build_kernel_folder(last, folder, owner, order.accelerator)]
    return [
        build_kernel_folder(piece, folder / piece.slug, owner, order.accelerator)
        for piece in (*shards, last)
    ]


def planned_kernels(
    order: KernelJob, run_name: str, owner: str
) -> tuple[list[PlannedKernel], PlannedKernel]:
    """Return the shards, none for a single kernel, and the kernel that writes the submission.

    Raises
    ------
    KernelError
        There are more shards than members.
    """
    whole = KernelTask(order.plan, run_name)
    if order.shards == 1:
        return [], _planned_kernel(whole, order.title)
    shards = [_planned_kernel(job, order.title) for job in shard_tasks(whole, order.shards)]
    kernels = [f"{owner}/{piece.slug}" for piece in shards]
    return shards, _planned_kernel(blend_task(whole, kernels), order.title)


def _planned_kernel(job: KernelTask, title: str | None) -> PlannedKernel:
    if title is None:
        slug = slug_for(job.run_name, job.shard)
        return PlannedKernel(job, slug, title_for(slug))
    if job.shard is not None:
        title = f"{title} shard {job.shard + 1}"
    return PlannedKernel(job, re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-"), title)


def build_kernel_folder(piece: PlannedKernel, folder: Path, owner: str, accelerator: str) -> Path:
    """Write the folder of one kernel and return it."""
    return write_kernel(
        folder, piece.job, owner=owner, slug=piece.slug, title=piece.title, accelerator=accelerator
    )


def read_script(folder: Path) -> str:
    """Return the text of the script in a built folder."""
    metadata = json.loads((folder / "kernel-metadata.json").read_text(encoding="utf-8"))
    return (folder / metadata["code_file"]).read_text(encoding="utf-8")
