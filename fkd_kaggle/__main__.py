"""``python -m fkd_kaggle`` is ``fkd-kaggle``."""

from fkd_kaggle.cli import main

main()
