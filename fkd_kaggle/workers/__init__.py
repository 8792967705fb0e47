"""Processes that train members side by side, and the scheduler that assigns members to them."""
