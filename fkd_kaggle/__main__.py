"""``python -m fkd_kaggle`` is ``fkd-kaggle``."""

from __future__ import annotations

from fkd_kaggle.cli.app import main

main()
