"""Plans of the scheduler: division of a time limit, and the order of members without one.

Pure functions of numbers; nothing here knows slots, runs or clocks.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np


def seconds_per_share(
    busy: Sequence[float],
    shares: Sequence[float],
    seconds: float,
    overhead: float,
    speeds: Sequence[float] | None = None,
) -> float:
    """Return the training seconds for each unit of share so that a queue fits into a time.

    Parameters
    ----------
    busy
        Seconds until each slot is free.
    shares
        Shares of the members in the queue. Each goes to the slot that ends it first.
    seconds
        Available seconds.
    overhead
        Seconds that each member takes besides training.
    speeds
        Speed of each slot; a member gets the same amount of training in a slow slot as in a fast
        slot. Default: all slots are equal.

    Returns
    -------
    Seconds at speed 1. 0 if not even the overheads fit.
    """
    free = np.array(busy, float)
    rates = 1 / np.array(speeds if speeds is not None else np.ones(len(free)), float)

    def last_end(pace: float) -> float:
        free_at, last = free.copy(), 0.0
        for share in shares:
            ends = free_at + (overhead + pace * share) * rates
            slot = int(ends.argmin())
            free_at[slot] = ends[slot]
            last = max(last, float(ends[slot]))
        return last

    # With the fastest slot alone, no member can train longer than this.
    low, high = 0.0, max(seconds, 0.0) / max(*shares, 1e-9) / float(rates.min())
    if last_end(low) >= seconds:
        return 0.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if last_end(middle) <= seconds else (low, middle)
    return low


def next_members(
    work: Sequence[float],
    busy: Sequence[float],
    speeds: Sequence[float],
    first: Collection[int] = (),
) -> dict[int, int]:
    """Return which member each free slot trains next.

    Longest processing time first: the members are distributed in the order of their work, each to
    the slot that would end it first. A slow slot gets no member if faster slots, which are still
    busy, end all members earlier; it stays free. For slots of different speed, the last end is at
    most 1.58 times the best possible (Dobson 1984), and within a few percent of it for queues that
    are several times longer than the number of slots.

    Parameters
    ----------
    work
        Estimated seconds of each member at speed 1.
    busy
        Seconds until each slot is free; 0 for free slots.
    speeds
        Speed of each slot.
    first
        Indices of members that are distributed before all others.

    Returns
    -------
    Index of a member by index of a free slot.
    """
    free_at = np.array(busy, float)
    rates = 1 / np.array(speeds, float)
    idle = free_at <= 0
    chosen: dict[int, int] = {}
    order = sorted(range(len(work)), key=lambda member: (member not in first, -work[member]))
    for member in order:
        ends = free_at + work[member] * rates
        slot = int(ends.argmin())
        if idle[slot] and slot not in chosen:
            chosen[slot] = member
            if len(chosen) == idle.sum():
                break
        free_at[slot] = ends[slot]
    return chosen
