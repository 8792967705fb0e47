"""The package as a Kaggle kernel: build, push, follow and collect it; its entry point."""
