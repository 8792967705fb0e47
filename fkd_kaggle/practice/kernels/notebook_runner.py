"""The program that executes a notebook in a kernel: ``python notebook_runner.py SOURCE TARGET``.

Prints what the cells print while they run, as Kaggle's log shows it, and writes the executed
notebook to TARGET, also after a failure. Runs in the kernel's environment, which does not contain
this package, and needs nbclient, nbformat and ipykernel.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError


class PrintingClient(NotebookClient):
    """A client that also prints the text that cells print."""

    def output(self, outs: Any, msg: Any, display_id: str | None, cell_index: int) -> Any:
        """Keep an output in the notebook, and print it if it is a stream."""
        if msg["header"]["msg_type"] == "stream":
            stream = sys.stderr if msg["content"]["name"] == "stderr" else sys.stdout
            stream.write(msg["content"]["text"])
            stream.flush()
        return super().output(outs, msg, display_id, cell_index)


def run_notebook(source: Path, target: Path, folder: Path) -> int:
    """Execute a notebook in a folder and return an exit code.

    Parameters
    ----------
    source
        The notebook.
    target
        Where to write the notebook with its outputs.
    folder
        Working folder of the cells.
    """
    notebook = nbformat.read(source, as_version=4)
    client = PrintingClient(
        notebook,
        timeout=None,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
    )
    try:
        client.execute()
    except CellExecutionError as error:
        print(error.traceback, file=sys.stderr, flush=True)
        return 1
    finally:
        nbformat.write(notebook, target)
    return 0


if __name__ == "__main__":
    sys.exit(run_notebook(Path(sys.argv[1]), Path(sys.argv[2]), Path.cwd()))
