"""The package as a Kaggle kernel: built here, run on Kaggle's GPUs, followed and collected."""
