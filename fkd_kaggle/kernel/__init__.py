"""The package as a Kaggle kernel: built here, run on Kaggle's GPUs, followed and collected."""

from __future__ import annotations
