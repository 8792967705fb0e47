"""Figures and HTML pages of data sets, runs and comparisons, and tiles of faces in photos."""
