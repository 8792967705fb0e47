"""A run as a file for other runtimes: uint8 faces in, keypoints in pixels out.

==============  ==================================================================================
plain_layers    networks without the package's own layers
graph           a run's networks, flip averaging, label offset and blend as one Keras model
formats         the file formats: how each is written, and the runtime that it needs
runner          runs an exported file with its runtime only; copied to the folder as example.py
check           largest difference from ``predict`` on held-out faces, size, speed
model_card      README.md of the folder, with the front matter of the Hugging Face Hub
folder          ``export_run``: writes and checks the folder
==============  ==================================================================================
"""
