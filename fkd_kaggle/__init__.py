"""Win Kaggle's Facial Keypoints Detection from the command line.

The modules read as the pipeline: ``competition`` fetches, ``faces`` parses,
``training`` and ``ensemble`` learn, ``submission`` writes, ``competition`` submits.
Importing the package imports none of them: start-up stays cheap.
"""

__version__ = "0.1.0"
