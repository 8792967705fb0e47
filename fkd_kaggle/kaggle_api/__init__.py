"""Kaggle's API through the official client."""
