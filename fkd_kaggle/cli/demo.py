"""The command ``demo``: a page with webcam and drag-and-drop."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

import typer

from fkd_kaggle.cli import options
from fkd_kaggle.display.console import make_console, print_line

Port = Annotated[
    int,
    typer.Option("--port", metavar="N", min=0, max=65535, help="Port of the page; 0 for any."),
]

Open = Annotated[
    bool, typer.Option("--open/--no-open", help="Open the page in the default browser.")
]


def demo(
    run: options.RunArgument = None,
    port: Port = 8765,
    open_page: Open = True,
    data_dir: options.DataDir = options.DATA,
    runs_dir: options.RunsDir = options.RUNS,
) -> None:
    """Show a run's points on your webcam and photos, in a page on this machine.

    Ctrl-C ends the demo. No picture leaves the machine.
    """
    import webbrowser

    from fkd_kaggle.photos.demo import DemoServer
    from fkd_kaggle.photos.prediction import PhotoModel
    from fkd_kaggle.runs.folder import find_run

    console = make_console()
    found = find_run(run, runs_dir)
    with console.status("loading the networks…"):
        model = PhotoModel.open(found, data_dir=data_dir)
    server = DemoServer(model, found.name, port=port)
    print_line(console, f"demo of {found.name}: {server.url} (Ctrl-C ends it)")
    if model.calibration is None:
        print_line(
            console,
            "no expected errors: --data-dir names the data of the training, which calibrates them",
        )
    if open_page:
        webbrowser.open(server.url)
    try:
        # The server returns after Ctrl-C, except where Ctrl-C comes while it starts or ends.
        with suppress(KeyboardInterrupt):
            server.serve()
    finally:
        server.close()
    print_line(console, "demo ended")
