"""The competition's data: faces, CSV format, cache, folds, metrics, submission files."""
