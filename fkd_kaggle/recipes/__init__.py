"""Recipes: networks and ensembles as data, in TOML files a user can copy and edit.

A *recipe* says how one network is built and trained; an *ensemble* lists recipes, the folds and the
time they share. Both are found by name here, or by the path of a user's own file. This package
reads, checks and writes them; it trains nothing.
"""

from __future__ import annotations

__all__ = [
    "AUGMENTATIONS", "DEFAULT", "DISTRIBUTIONS", "LOSSES", "MISSING", "OPTIMIZERS", "PRECISIONS",
    "SCHEDULES", "SOURCE_OUTPUTS", "SPLITS", "TARGET_SCALES", "Augmentation", "Copy", "Ensemble",
    "EnsembleMember", "Member", "Plan", "Recipe", "load", "names", "plan", "text", "to_toml",
]  # fmt: skip
