from fkd_kaggle.api.drawing import draw as draw
from fkd_kaggle.api.estimator import KeypointRegressor as KeypointRegressor
from fkd_kaggle.api.faces import FaceSet as FaceSet
from fkd_kaggle.api.faces import load_faces as load_faces
from fkd_kaggle.api.faces import make_faces as make_faces
from fkd_kaggle.api.model import Model as Model
from fkd_kaggle.api.model import load as load
from fkd_kaggle.api.training import train as train
from fkd_kaggle.settings import __version__ as __version__

__all__ = [
    "FaceSet",
    "KeypointRegressor",
    "Model",
    "__version__",
    "draw",
    "load",
    "load_faces",
    "make_faces",
    "train",
]
