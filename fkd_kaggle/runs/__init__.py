"""Run folders on disk: the only code that reads and writes them. Never imports Keras."""
