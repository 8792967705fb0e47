"""Fit, blend and compare the members of runs; predict with a run."""
