"""The public Python API: ``load_faces``, ``train``, ``load``, ``draw``, ``Model``, estimator.

Users import these names from ``fkd_kaggle``, which loads them on first use.
"""
