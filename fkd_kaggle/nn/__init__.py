"""Keras code that knows no recipe: backend, layers, warps, losses, optimizer."""
