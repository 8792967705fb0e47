"""Kernels of the practice Kaggle: pushing, running and reading them."""
