"""Training of one network: preprocessing, augmentation, learner, trainer and inference."""
