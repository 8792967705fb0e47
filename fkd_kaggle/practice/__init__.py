"""The practice Kaggle: a local server that Kaggle's official client uses unchanged."""
