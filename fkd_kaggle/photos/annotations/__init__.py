"""TODO: fkd_kaggle.photos.annotations."""
