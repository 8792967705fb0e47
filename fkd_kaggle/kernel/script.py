"""The script of a kernel: the template with the task, its description and the package filled in."""

from __future__ import annotations

import base64
import functools
import lzma
import re
import textwrap
from typing import Final

from fkd_kaggle.errors import KernelError
from fkd_kaggle.kernel.job import KernelTask
from fkd_kaggle.kernel.packing import pack_package
from fkd_kaggle.kernel.summary import describe_task, title_of
from fkd_kaggle.settings import __version__

_WIDTH: Final = 96
"""Longest line of the description."""


def make_script(template: str, task: KernelTask) -> str:
    """Return the text of a kernel's script.

    Parameters
    ----------
    template
        Text of the template, with its placeholders.
    task
        What the kernel does.

    Raises
    ------
    KernelError
        The template lacks a placeholder.
    """
    filled = {
        "SUMMARY_TITLE": _in_docstring(f"{title_of(task)}."),
        "SUMMARY_LINES": _in_docstring(_description(task)),
        "SUMMARY_VERSION": f"fkd-kaggle {__version__}",
        'TASK = r"""{}"""': f'TASK = r"""{in_raw_string(task.to_json())}"""',
        'PACKAGE = """"""': f'PACKAGE = """\n{encode_package()}"""',
    }
    for placeholder in filled:
        if template.count(placeholder) != 1:
            raise KernelError(
                f"the kernel's template has no line {placeholder!r}: reinstall the package"
            )
    # In one pass: a filled text, such as the user's own code, can contain a placeholder.
    pattern = "|".join(re.escape(placeholder) for placeholder in filled)
    return re.sub(pattern, lambda match: filled[match[0]], template)


@functools.cache  # compressing takes a second, and a job can have many kernels
def encode_package() -> str:
    """Return the package's source code: an LZMA-compressed zip as base64, in short lines."""
    return base64.encodebytes(lzma.compress(pack_package(), preset=9)).decode("ascii")


def _description(task: KernelTask) -> str:
    """Return the description of a task as indented lines."""
    lines: list[str] = []
    for label, text in describe_task(task):
        lines += textwrap.wrap(f"{label}: {text}", _WIDTH, subsequent_indent="    ")
    return "\n".join(lines)


def _in_docstring(text: str) -> str:
    """Return a text that cannot end the docstring or start an escape sequence."""
    return text.replace("\\", "/").replace('"', "'")


def in_raw_string(text: str) -> str:
    """Return JSON that cannot end a raw string: three quotation marks are written as escapes."""
    return text.replace('"""', "\\u0022\\u0022\\u0022")
