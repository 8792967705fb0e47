"""An ensemble: members trained fold by fold, blended out of fold, averaged at prediction.

Conducts ``training``, ``blend`` and the run folder. Knows how time is shared between members and
what to do when it runs out or somebody presses Ctrl-C.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fkd_kaggle.data.faces import Faces
from fkd_kaggle.recipes.plans import Member

if TYPE_CHECKING:
    import keras


def predict_member(
    network: keras.Model,
    member: Member,
    wanted: Faces,
    annotators: np.ndarray,
    *,
    again: bool = True,
) -> np.ndarray:
    """Return (N, 15, 2) float32 pixels: one network's flip-averaged answer.

    Parameters
    ----------
    again
        Whether it looks again at faces it is lost on (see ``search``).
    """
    from fkd_kaggle.training import crop_search, forward
    from fkd_kaggle.training.network import flip_averaging_order, to_keypoints

    predict = crop_search.predict_with_crop_search if again else forward.predict_points
    points = predict(network, wanted.images, flip_averaging_order(member.recipe))
    return to_keypoints(points, member.recipe, annotators)
