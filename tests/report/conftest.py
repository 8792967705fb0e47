"""Fixtures of the report: see ``report_runs``."""

from __future__ import annotations

from report_runs import report_data, report_run

__all__ = ["report_data", "report_run"]
