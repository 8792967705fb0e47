"""The command line: one module per command group, shared options, the connection to Kaggle."""
