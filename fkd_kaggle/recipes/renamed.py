"""Old names in recipe files, run folders and kernel records, and the names that replaced them.

Files with old names are read as if they had the new ones. Digests are computed with the old names,
so a recipe keeps its digest.
"""

from __future__ import annotations

from typing import Final

ARCHITECTURES: Final = {"ladder": "plain-cnn"}
"""Old architecture name → new one."""
