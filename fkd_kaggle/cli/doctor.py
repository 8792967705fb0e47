"""The command ``doctor``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from fkd_kaggle.cli import options
from fkd_kaggle.display.console import make_console, print_line

PROBLEMS_FOUND = 1
"""Exit code if a check found a problem."""

Offline = Annotated[bool, typer.Option("--offline", help="Do not contact Kaggle.")]


def doctor(
    offline: Offline = False,
    json: options.Json = False,
    data_dir: options.DataDir = options.DATA,
    runs_dir: options.RunsDir = options.RUNS,
) -> None:
    """Check the machine and the credentials, and say what to do about each problem.

    Checks versions, devices, memory, disk, data, credentials (never shown), the connection to
    Kaggle and the practice Kaggle. The exit code is 1 if there is a problem.
    """
    from fkd_kaggle.cli.diagnosis import Finding, diagnose
    from fkd_kaggle.display import json_output
    from fkd_kaggle.nn.backend import use_default_backend

    use_default_backend()
    console = make_console(stderr=json)
    marks = {"ok": "ok", "note": "--", "problem": "!!"}
    findings: list[Finding] = []
    with console.status("checking…"):
        for finding in diagnose(data_dir, runs_dir, offline=offline):
            findings.append(finding)
            if json:
                continue
            print_line(console, f"{marks[finding.state]}  {finding.name}: {finding.text}")
            if finding.remedy:
                print_line(console, f"    → {finding.remedy}")
    problems = sum(finding.state == "problem" for finding in findings)
    if json:
        document = {"problems": problems, "checks": [asdict(finding) for finding in findings]}
        typer.echo(json_output.to_json(document))
    else:
        count = "1 problem" if problems == 1 else f"{problems} problems"
        print_line(console, "no problem found" if not problems else f"{count} found, see above")
    if problems:
        raise typer.Exit(PROBLEMS_FOUND)
