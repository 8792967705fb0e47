"""What training tells whoever watches: plain values, no printing.

``ensemble.train`` calls ``on_event`` with these; ``display`` turns them into a live terminal view
or into plain lines for a kernel's log.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Scores:
    """Cross-validated root mean squared errors in pixels; None where nothing was held out."""

    complete: float | None
    """On rows labelled by the complete source."""
    partial: float | None
    combined: float | None
    """Both, weighted as the lookup table asks for them."""
    expected: float | None
    """``combined`` less what averaging over folds gains on the test faces: compare with the
    leaderboard."""
    by_member: dict[str, float]
    """Combined score of each recipe alone."""
    own: dict[str, dict[str, dict[str, float | None]]] = field(default_factory=dict)
    """By recipe and metric (see ``metrics``): what its source measures, "held_out" on faces it
    never saw; where its protocol leaks, "unseen_copies" on copies of those and "copies" on copies
    of training faces; and "published"."""
