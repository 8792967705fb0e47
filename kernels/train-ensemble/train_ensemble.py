"""Train an ensemble for Kaggle's Facial Keypoints Detection, predict, write submission.csv.

Made by `fkd-kaggle kernel build`.
Steps: 1. unpack the fkd_kaggle package from PACKAGE, 2. check the image's versions, 3. link the
competition's files, 4. train the members, or blend those of other kernels, within the session's
time, 5. predict the test faces and write submission.csv and the run's report.
"""

import base64
import io
import sys
import tempfile
import zipfile


def main() -> int:
    """Unpack the package, put it on Python's path and do the task."""
    with tempfile.TemporaryDirectory(prefix="fkd-kaggle-") as folder:
        with zipfile.ZipFile(io.BytesIO(base64.b64decode(PACKAGE))) as package:
            package.extractall(folder)
        sys.path.insert(0, folder)
        from fkd_kaggle.kernel import entry_point

        return entry_point.main(TASK)  # steps 2 to 5


# What this kernel does, as JSON: recipes, folds, epochs, time limit, shard.
TASK = r"""{}"""

# A zip of the package's files, base64.
PACKAGE = """"""

if __name__ == "__main__":
    sys.exit(main())
