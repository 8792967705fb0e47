"""Train an ensemble for Kaggle's Facial Keypoints Detection, predict, write submission.csv.

Made by `fkd-kaggle kernel build`.
The script carries all of the fkd_kaggle package: it unpacks it to a temporary folder and calls
what the laptop calls. JOB says what to train.
"""

import base64
import io
import sys
import tempfile
import zipfile


def main() -> int:
    """Unpack the package, put it on Python's path and do the job."""
    with tempfile.TemporaryDirectory(prefix="fkd-kaggle-") as folder:
        with zipfile.ZipFile(io.BytesIO(base64.b64decode(PACKAGE))) as package:
            package.extractall(folder)
        sys.path.insert(0, folder)
        from fkd_kaggle.kernel import entry_point

        return entry_point.main(JOB)


# Recipes, folds, epochs, time, as JSON.
JOB = r"""{}"""

# A zip of the package's files as they were when this was built, in base64.
PACKAGE = """"""

if __name__ == "__main__":
    sys.exit(main())
