"""Points in photos: the types, one module per file format, and the data set for training."""
