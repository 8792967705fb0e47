"""The practice Kaggle: a local server that the official client talks to unchanged."""

from __future__ import annotations
