"""Functions that a user's own Python files define: architectures, losses, metrics, imputation.

A recipe names such a function as ``FILE.py:FUNCTION``, for example ``my_net.py:build``. When the
recipe is loaded, the text of the file becomes part of the recipe (``Recipe.code``) and goes
wherever the recipe goes: into run.json, to worker processes, clusters and kernels. A file cannot
import other files beside it; it can import every installed package.

Reading a recipe never executes code: names and parameters are read from the syntax tree. Code is
executed by ``resolve`` and ``load_module``, and only if it is trusted: because the command line
named the file or the recipe beside it, or with ``--trust-code``. Trust belongs to the exact text of
a file and is remembered for this user, so that a run that was trained here predicts without being
asked about again, and a run from somebody else does not.
"""

from __future__ import annotations

import ast
import hashlib
import linecache
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from fkd_kaggle import files
from fkd_kaggle.errors import FkdError, RecipeError, unknown_name
from fkd_kaggle.formatting import one_line
from fkd_kaggle.settings import user_folder

TRUST_FILE: Final = "FKD_TRUST_FILE"
"""Environment variable: file with the digests of trusted code, instead of the user's own."""

_LARGEST: Final = 200_000
"""Largest size of a file in bytes: the script of a Kaggle kernel is limited to 1 MB."""

_REFERENCE: Final = re.compile(r"(?P<path>(?:[A-Za-z]:)?[^:]+\.py):(?P<function>[A-Za-z_]\w*)")

_trusted: set[str] = set()

_trusts_all = False

Code = Mapping[str, str]
"""Texts of source files by file name."""


def is_reference(name: str) -> bool:
    """Say whether a name has the form ``FILE.py:FUNCTION``."""
    return _REFERENCE.fullmatch(name) is not None


def read_source(reference: str, folder: Path, where: str) -> tuple[str, str, str]:
    """Read the file that a reference names, without executing it.

    Parameters
    ----------
    reference
        ``PATH.py:FUNCTION``.
    folder
        Folder that relative paths start from: that of the recipe file.
    where
        What messages call the recipe.

    Returns
    -------
    The reference without folders, the name of the file and its text.

    Raises
    ------
    RecipeError
        The file is missing, too large, not UTF-8 or not valid Python.
    """
    found = _REFERENCE.fullmatch(reference)
    if found is None:
        raise RecipeError(f"{where}: {reference!r} should be FILE.py:FUNCTION")
    path = folder / found["path"]
    try:
        if path.stat().st_size > _LARGEST:
            raise RecipeError(f"{where}: {path} is larger than {_LARGEST // 1000} kB")
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise RecipeError(f"{where}: {path} is not UTF-8 text") from None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise RecipeError(f"{where}: {path} cannot be read: {why}") from None
    _parse(path.name, text)
    return f"{path.name}:{found['function']}", path.name, text


def keyword_options(reference: str, code: Code) -> dict[str, tuple[str, str]]:
    """Return the keyword-only parameters of a function: annotation and default, as source text.

    Parameters
    ----------
    reference
        ``FILE.py:FUNCTION``.
    code
        The recipe's source files.

    Raises
    ------
    RecipeError
        The file does not define the function at its top level.
    """
    arguments = _definition(reference, code).args
    return {
        argument.arg: (
            ast.unparse(argument.annotation) if argument.annotation else "",
            ast.unparse(default) if default else "",
        )
        for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    }


def check_function(reference: str, code: Code, parameters: tuple[str, ...], where: str) -> None:
    """Refuse a function that cannot be called with the given positional arguments.

    Parameters
    ----------
    reference
        ``FILE.py:FUNCTION``.
    code
        The recipe's source files.
    parameters
        What the function is called with, in words for the message.
    where
        What the message calls the recipe.

    Raises
    ------
    RecipeError
        No such function, or it takes other arguments.
    """
    arguments = _definition(reference, code).args
    given = len(arguments.posonlyargs) + len(arguments.args)
    required = given - len(arguments.defaults)
    most = len(parameters) if arguments.vararg else given
    if not required <= len(parameters) <= most:
        raise RecipeError(
            f"{where}: {reference} must take {len(parameters)} positional "
            f"argument{'s' if len(parameters) != 1 else ''} ({', '.join(parameters)})"
        )


def resolve(name: str, code: Code) -> str | Callable[..., Any]:
    """Return the function that a reference names, and any other name unchanged.

    Executes the file. Exceptions of the function become a ``RecipeError`` that names the line.

    Parameters
    ----------
    name
        ``FILE.py:FUNCTION``, or a name that the package knows.
    code
        The recipe's source files.

    Raises
    ------
    RecipeError
        The code is not trusted, or the file fails when it is imported.
    """
    if not is_reference(name):
        return name
    function = getattr(load_module(name, code), name.rpartition(":")[2])

    def call(*args: Any, **options: Any) -> Any:
        return guarded(name, function, *args, **options)

    return call


def load_module(reference: str, code: Code) -> ModuleType:
    """Execute the file of a reference once for each process, and return its module.

    Parameters
    ----------
    reference
        ``FILE.py:FUNCTION``.
    code
        The recipe's source files.

    Raises
    ------
    RecipeError
        The code is not trusted, or the file fails when it is imported.
    """
    file = reference.rpartition(":")[0]
    require_trust({file: code[file]}, "the recipe")
    digest = _digest(code[file])
    name = f"fkd_user_code_{Path(file).stem}_{digest[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    module = ModuleType(name)
    # Tracebacks and TensorFlow's AutoGraph read the source of functions through linecache.
    shown = _shown_file(file, code[file])
    module.__file__ = shown
    linecache.cache[shown] = (len(code[file]), None, code[file].splitlines(True), shown)
    sys.modules[name] = module
    try:
        program = compile(code[file], shown, "exec", dont_inherit=True)
        guarded(reference, exec, program, module.__dict__)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def guarded(reference: str, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Call a user's function; its exceptions become a ``RecipeError`` with file and line.

    Parameters
    ----------
    reference
        ``FILE.py:FUNCTION``, for the message.
    function, args, options
        What is called, and with what.

    Raises
    ------
    RecipeError
        The function raised an exception.
    """
    try:
        return function(*args, **options)
    except Exception as error:
        file = reference.rpartition(":")[0]
        lines = [
            frame.lineno
            for frame in traceback.extract_tb(error.__traceback__)
            if frame.filename.startswith(f"<{file} ")
        ]
        place = f"{file}, line {lines[-1]}" if lines else reference
        why = one_line(str(error), 300)
        raise RecipeError(f"{place}: {type(error).__name__}: {why}") from error


def trust(code: Code, *, remember: bool = False) -> None:
    """Allow code to be executed in this process.

    Parameters
    ----------
    code
        Source files by name.
    remember
        Whether to allow it in later processes of this user too.
    """
    digests = {_digest(text) for text in code.values()} - _trusted
    _trusted.update(digests)
    if remember and (new := digests - _remembered()):
        try:
            files.write_text(_trust_file(), "\n".join(sorted(_remembered() | new)) + "\n")
        except (OSError, FkdError, ImportError):
            return  # Later commands need --trust-code.


def trust_all() -> None:
    """Allow all code, and remember what is executed (the option ``--trust-code``)."""
    global _trusts_all
    _trusts_all = True


def require_trust(code: Code, owner: str) -> None:
    """Refuse code that is not trusted.

    Parameters
    ----------
    code
        Source files by name.
    owner
        What contains the code, for the message: "run quick-1".

    Raises
    ------
    RecipeError
        Names the files and the option that allows them.
    """
    if _trusts_all:
        trust(code, remember=True)
    unknown = untrusted(code)
    if unknown:
        raise RecipeError(
            f"{owner} contains Python code that this user has not run before "
            f"({', '.join(unknown)}): read it, then repeat the command with --trust-code"
        )


def untrusted(code: Code) -> list[str]:
    """Return the names of the files that are not trusted, sorted."""
    known = _trusted | (_remembered() if code else set())
    return sorted(file for file, text in code.items() if _digest(text) not in known)


def merge(codes: Iterable[Code], owner: str) -> dict[str, str]:
    """Return the source files of several recipes as one mapping.

    Raises
    ------
    RecipeError
        Two different files have the same name.
    """
    merged = dict[str, str]()
    for code in codes:
        for file, text in code.items():
            if merged.setdefault(file, text) != text:
                raise RecipeError(f"{owner}: two different files are called {file}: rename one")
    return merged


def _parse(file: str, text: str) -> ast.Module:
    try:
        tree = ast.parse(text, file)
        # Finds more errors, such as "return" outside of a function.
        compile(tree, file, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        why = error.msg if isinstance(error, SyntaxError) else error
        raise RecipeError(f"{file}{line} is not valid Python: {why}") from None
    return tree


def _definition(reference: str, code: Code) -> ast.FunctionDef:
    """Return the function's definition in the syntax tree."""
    file, _, function = reference.rpartition(":")
    if file not in code:
        raise RecipeError(f"the recipe names {reference}, but does not contain {file}")
    defined = {
        node.name: node
        for node in _parse(file, code[file]).body
        if isinstance(node, ast.FunctionDef)
    }
    if function not in defined:
        public = [name for name in defined if not name.startswith("_")]
        if not public:
            raise RecipeError(f"{file} defines no function {function} at its top level")
        raise RecipeError(f"{file}: {unknown_name('function', function, public)}")
    return defined[function]


def _shown_file(file: str, text: str) -> str:
    """Return the name of a file in tracebacks: a process can load several texts of one file."""
    return f"<{file} {_digest(text)[:12]}>"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _trust_file() -> Path:
    if given := os.environ.get(TRUST_FILE):
        return Path(given)
    return user_folder("config") / "trusted-code.txt"


def _remembered() -> set[str]:
    try:
        return set(_trust_file().read_text(encoding="utf-8").split())
    except (OSError, ValueError, ImportError):
        return set()
