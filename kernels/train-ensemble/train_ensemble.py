"""Kaggle's Facial Keypoints Detection: SUMMARY_TITLE

SUMMARY_LINES

Steps (see `main`)
    1. unpack the package fkd_kaggle from PACKAGE, at the end of this script
    2. check the machine: versions of packages, GPUs
    3. find the competition's files among the inputs
    4. train the networks within the session's time, or blend those of other kernels
    5. predict the test faces and write submission.csv
    6. write the report: learning curves, errors by keypoint, faces; print the scores

Source: PACKAGE is a zip of the complete source code, SUMMARY_VERSION.
    `python train_ensemble.py --unpack FOLDER` unpacks it.
    Made by `fkd-kaggle kernel build`.
Licence: MIT, Copyright (c) 2026 The fkd-kaggle founders; see fkd_kaggle/LICENSE in PACKAGE.
"""

import base64
import io
import lzma
import sys
import tempfile
import zipfile


def main() -> int:
    """Do the steps in their order; an error of the package ends the kernel with one line."""
    with tempfile.TemporaryDirectory(prefix="fkd-kaggle-") as folder:
        unpack(folder)
        sys.path.insert(0, folder)
        from fkd_kaggle.kernel import entry_point

        with entry_point.KernelRun(TASK) as kernel:
            kernel.check_machine()
            kernel.find_data()
            if kernel.task.gather:
                kernel.blend()  # the networks that other kernels have trained
            else:
                kernel.train()
            if kernel.task.submits:  # a shard leaves its networks to the kernel that blends
                kernel.write_submission()
                kernel.write_report()
                kernel.print_scores()
        return kernel.exit_code


def unpack(folder: str) -> None:
    """Unpack the package's source code into a folder."""
    with zipfile.ZipFile(io.BytesIO(lzma.decompress(base64.b64decode(PACKAGE)))) as package:
        package.extractall(folder)


# What this kernel does, as JSON: recipes with all their options, folds, time limit, shard.
TASK = r"""{}"""

# The source code of the package: a zip, compressed with LZMA, as base64. Nothing else follows.
PACKAGE = """"""

if __name__ == "__main__":
    if sys.argv[1:2] == ["--unpack"]:
        unpack(sys.argv[2])
    else:
        sys.exit(main())
