"""The command line: one file per command group, options, and the connection to Kaggle."""
