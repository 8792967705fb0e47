"""Recipes: networks and ensembles described by TOML files that users can copy and edit.

A *recipe* describes how a network is built and trained. An *ensemble* lists recipes, folds and a
time limit. The package reads, checks and writes recipes and combines them to plans; it does not
train. To add a recipe, add a .toml file to this folder.
"""
