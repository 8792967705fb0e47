"""Photos: faces that are no 96×96 crops, found, cropped, answered for and compared.

    images.py     any image file → pixels
    cvat.py       annotations of other people
    detect.py     where faces are
    crops.py      the square of a photo that looks like a training face
    locate.py     a run's answer for faces in photos
    evaluate.py   that answer against annotations
    drawing.py    both, drawn
    page.py       the folder an evaluation leaves

    reference.py  models that put points on photos, by name
    annotate.py   a folder of photos → face_keypoints.csv
    point_table.py  that file
    transfer.py   training on it

Nothing here knows the competition's files; ``crops`` measures in the training labels what a face
must look like, and that is all that is taken from them.
"""

from __future__ import annotations

RUN_NOTE = "photo_run.json"
"""What tells a run of ``train-photos`` from an ensemble's."""
