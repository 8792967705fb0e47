"""Keras code that does not know recipes: backend, layers, warps, losses, optimizer, FLOPs."""
