"""Entry point of ``python -m fkd_kaggle``, the same as the command ``fkd-kaggle``."""

from __future__ import annotations

from fkd_kaggle.cli.app import main

main()
