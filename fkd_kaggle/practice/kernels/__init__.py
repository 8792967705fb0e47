"""TODO: fkd_kaggle.practice.kernels."""
