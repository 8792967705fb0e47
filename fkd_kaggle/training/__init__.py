"""Train one network: preprocessing, augmentation, learner, trainer, inference."""
