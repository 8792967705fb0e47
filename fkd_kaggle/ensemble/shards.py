"""What runs inside a kernel: find the data, train or gather, write the submission.

Called by the kernel's script with the package unpacked. Prints plain lines, since a kernel's log
knows no cursor; writes to the kernel's working folder and a temporary one only.

``FKD_KAGGLE_ROOT`` stands in for ``/kaggle`` where a kernel runs elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fkd_kaggle.errors import KernelError

if TYPE_CHECKING:
    from fkd_kaggle.runs.folder import Run


def check_shard(shard: Run, first: Run, run: Run) -> None:
    """Refuse a shard whose members cannot be blended with the others'."""
    shard.check_data(run.info["data"])
    if shard.plan.members != run.plan.members:
        raise KernelError(
            f"{shard.path} was trained to another plan than {run.name} is to be blended by: "
            "push all its shards anew"
        )
    if (shard.path / "folds.npy").read_bytes() != (first.path / "folds.npy").read_bytes():
        raise KernelError(
            f"{shard.path} and {first.path} have split the faces differently: the machines' "
            "images differ; push all shards anew, so that they run in the same one"
        )
