"""Win Kaggle's Facial Keypoints Detection from the command line."""
