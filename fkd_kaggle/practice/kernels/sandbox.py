"""The environment of a kernel: Kaggle's folders, clean variables, a Python without this package.

A virtual environment replaces Kaggle's image: it links every installed package except this one. On
Linux a kernel also gets its own namespaces (util-linux's ``unshare`` and ``setpriv``): its files
are in ``/kaggle``, its input and the system are read-only and cannot be mounted again, the user's
home folder (with ``~/.kaggle``), ``/tmp`` and the practice Kaggle's own files are empty, and its
network is off unless it enables the internet. Without namespaces, ``FKD_KAGGLE_ROOT`` names the
folder that replaces ``/kaggle``, and a kernel has the user's rights.

This is no security boundary: a kernel is the user's own code and runs with the user's id.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

ROOT_VARIABLE: Final = "FKD_KAGGLE_ROOT"
"""Environment variable with the folder that replaces ``/kaggle``."""

SCRIPT: Final = "script.py"
"""Name of a kernel's script in ``/kaggle/src``."""

NOTEBOOK: Final = "notebook.ipynb"
"""Name of a kernel's notebook in ``/kaggle/src``."""

EXECUTED: Final = "__notebook__.ipynb"
"""Name of the executed notebook in ``/kaggle/working``, as on Kaggle."""

_NOTEBOOK_RUNNER: Final = "notebook_runner.py"

_FOLDERS: Final = ("input", "working", "src", "temp", "home")

_PACKAGE: Final = "fkd_kaggle"

_INHERITED: Final = ("LD_LIBRARY_PATH", "SYSTEMROOT")
"""Environment variables that a kernel inherits."""

# setpriv kills the kernel when the runner is killed.
_UNSHARE: Final = (
    *("setpriv", "--pdeathsig", "KILL"),
    *("unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child"),
)

# Makes a new root with everything of the old root except /kaggle, which is replaced, and except the
# hidden folders, which are empty apart from the kept folders in them. Arguments: the empty folder
# that becomes the root, the folder that becomes /kaggle, the hidden folders, "--", the kept
# folders, "--", pairs of a folder and its mount point under /kaggle/input, "--", and the command.
# Linux does not let a bind mount drop options of its file system; the second attempt therefore
# keeps nosuid and nodev.
_ENTER: Final = """
set -eu
make_read_only() {
    mount -o remount,bind,ro "$1" 2>/dev/null ||
        mount -o remount,bind,ro,nosuid,nodev "$1" 2>/dev/null || :
}
root=$1 kaggle=$2
shift 2
mount -t tmpfs -o mode=755 none "$root"
for entry in /*; do
    here=$root$entry
    if [ "$entry" = /kaggle ]; then continue
    elif [ -L "$entry" ]; then cp -P "$entry" "$here"
    elif [ -d "$entry" ]; then
        mkdir "$here"
        mount --rbind "$entry" "$here"
        case $entry in
            /dev | /proc | /run | /sys | /tmp) ;;
            *) make_read_only "$here" ;;
        esac
    else : > "$here"; mount --bind "$entry" "$here"; fi
done
while [ "$1" != -- ]; do
    if [ -d "$root$1" ]; then mount -t tmpfs -o mode=755 none "$root$1"; fi
    shift
done
shift
while [ "$1" != -- ]; do
    mkdir -p "$root$1"
    mount --rbind "$1" "$root$1"
    make_read_only "$root$1"
    shift
done
shift
mkdir "$root/kaggle"
mount --bind "$kaggle" "$root/kaggle"
for part in src input; do
    mount --bind "$kaggle/$part" "$root/kaggle/$part"
    make_read_only "$root/kaggle/$part"
done
while [ "$1" != -- ]; do
    mount --bind "$1" "$root/kaggle/input/$2"
    make_read_only "$root/kaggle/input/$2"
    shift 2
done
shift
exec chroot "$root" "$@"
"""

# The loopback interface of a new network namespace is down, and kernels may need it. Then all
# capabilities are dropped, also for programs that the kernel starts, so that it cannot mount: in
# the namespaces that it can still make, Linux locks the options of these mounts.
_START: Final = """
import ctypes, fcntl, os, socket, struct, sys
if sys.argv[1] == "offline":
    with socket.socket() as link:
        fcntl.ioctl(link, 0x8914, struct.pack("16sh", b"lo", 0x1 | 0x40))
libc = ctypes.CDLL(None, use_errno=True)
capability = 0
while libc.prctl(24, capability, 0, 0, 0) == 0:  # PR_CAPBSET_DROP
    capability += 1
if capability < 32 or libc.prctl(38, 1, 0, 0, 0) != 0:  # PR_SET_NO_NEW_PRIVS
    sys.exit("the practice Kaggle cannot drop the capabilities of a kernel")
os.chdir("/kaggle/working")
os.environ["PWD"] = "/kaggle/working"
os.execv(sys.argv[2], sys.argv[2:])
"""


@dataclass(frozen=True)
class Mount:
    """A folder that a kernel reads under ``/kaggle/input``."""

    source: Path
    target: str
    """Path of the mount point under ``/kaggle/input``."""


def prepare_image(folder: Path) -> Path:
    """Create the virtual environment that replaces Kaggle's image; return its Python.

    Parameters
    ----------
    folder
        Folder of the environment; an old one is removed.
    """
    shutil.rmtree(folder, ignore_errors=True)
    venv.EnvBuilder(symlinks=os.name != "nt").create(folder)
    paths = sysconfig.get_paths(
        "nt_venv" if os.name == "nt" else "posix_venv",
        {"base": str(folder), "platbase": str(folder)},
    )
    packages = Path(paths["purelib"])
    for entry in _installed_entries():
        link = packages / entry.name
        if not link.exists() and not _is_this_package(entry):
            link.symlink_to(entry, target_is_directory=entry.is_dir())
    return Path(paths["scripts"]) / ("python.exe" if os.name == "nt" else "python")


@cache
def is_isolated() -> bool:
    """Tell whether kernels can have their own namespaces on this system."""
    if not sys.platform.startswith("linux"):
        return False
    with tempfile.TemporaryDirectory() as name:
        prepare_folders(Path(name), "", [], isolated=True)
        command = _namespace_command(Path(name), [], internet=False, python=sys.executable)
        try:
            done = subprocess.run(
                [*command, "-I", "-S", "-c", "open('/kaggle/working/created', 'w')"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
                timeout=60,
            )
        except (OSError, subprocess.SubprocessError):
            return False
        return done.returncode == 0 and (Path(name) / "kaggle" / "working" / "created").exists()


def prepare_folders(
    folder: Path, text: str, mounts: Iterable[Mount], *, isolated: bool, notebook: bool = False
) -> None:
    """Create Kaggle's folders with a kernel's script and input under ``folder/kaggle``.

    Parameters
    ----------
    folder
        The version's folder.
    text
        The script or the notebook.
    mounts
        Its input. With namespaces it is mounted later; otherwise it is copied.
    isolated
        Whether the kernel has its own namespaces.
    notebook
        Whether ``text`` is a notebook.
    """
    kaggle = folder / "kaggle"
    for name in _FOLDERS:
        (kaggle / name).mkdir(parents=True, exist_ok=True)
    (folder / "root").mkdir(exist_ok=True)
    name = NOTEBOOK if notebook else SCRIPT
    (kaggle / "src" / name).write_text(text, encoding="utf-8", newline="")
    if notebook:
        runner = Path(__file__).with_name(_NOTEBOOK_RUNNER)
        shutil.copy(runner, kaggle / "src" / _NOTEBOOK_RUNNER)
    for mount in mounts:
        target = kaggle / "input" / mount.target
        if isolated:
            target.mkdir(parents=True, exist_ok=True)
        else:
            shutil.copytree(mount.source, target, dirs_exist_ok=True)
            _make_read_only(target)


def kernel_command(
    folder: Path,
    python: Path,
    mounts: Sequence[Mount],
    *,
    isolated: bool,
    internet: bool,
    gpu: bool,
    session: int,
    image: str,
    hidden: Sequence[Path] = (),
    notebook: bool = False,
) -> dict[str, Any]:
    """Return the kernel's command, working directory and environment, as ``runner`` reads them.

    Parameters
    ----------
    folder
        The version's folder, prepared by ``prepare_folders``.
    python
        Python of ``prepare_image``.
    mounts
        Input of the kernel.
    isolated
        Whether the kernel has its own namespaces.
    internet
        Whether it has a network; without namespaces it always has one.
    gpu
        Whether it may see GPUs.
    session
        Number of the run.
    image
        Name of the image.
    hidden
        Folders whose files the kernel must not see; with namespaces only.
    notebook
        Whether it is a notebook instead of a script.
    """
    kaggle = Path("/kaggle") if isolated else folder / "kaggle"
    environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    environment |= {
        "PATH": f"{python.parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(kaggle / "home"),
        # Otherwise pip would follow the links and replace this machine's packages.
        "PIP_TARGET": str(kaggle / "home" / "packages"),
        "PYTHONPATH": str(kaggle / "home" / "packages"),
        "TMPDIR": str(kaggle / "temp"),
        "LANG": "C.UTF-8",
        "MPLBACKEND": "agg",
        "KAGGLE_KERNEL_RUN_TYPE": "Batch",
        "KAGGLE_CONTAINER_NAME": f"kaggle-{session}",
        "KAGGLE_DOCKER_IMAGE": image,
    }
    if not gpu:
        environment["CUDA_VISIBLE_DEVICES"] = ""
    if notebook:
        source, executed = kaggle / "src" / NOTEBOOK, kaggle / "working" / EXECUTED
        program = [str(kaggle / "src" / _NOTEBOOK_RUNNER), str(source), str(executed)]
    else:
        program = [str(kaggle / "src" / SCRIPT)]
    if isolated:
        command = _namespace_command(
            folder, mounts, internet=internet, python=str(python), hidden=hidden
        )
        return {"command": [*command, *program], "cwd": str(folder), "environment": environment}
    environment[ROOT_VARIABLE] = str(kaggle)
    return {
        "command": [str(python), *program],
        "cwd": str(kaggle / "working"),
        "environment": environment,
    }


def clean_up(folder: Path) -> None:
    """Remove the folders of a finished kernel except its output."""
    for name in ("input", "src", "temp", "home"):
        _make_writable(folder / "kaggle" / name)
        shutil.rmtree(folder / "kaggle" / name, ignore_errors=True)
    shutil.rmtree(folder / "root", ignore_errors=True)


def _namespace_command(
    folder: Path,
    mounts: Sequence[Mount],
    *,
    internet: bool,
    python: str,
    hidden: Sequence[Path] = (),
) -> list[str]:
    """Return the beginning of a command line: namespaces, new root, then ``python``."""
    hide = _hidden_folders(hidden)
    keep = [one for one in _python_folders(python) if any(one.is_relative_to(h) for h in hide)]
    pairs = [part for mount in mounts for part in (str(mount.source), mount.target)]
    network = [] if internet else ["--net"]
    start = [python, "-I", "-S", "-c", _START, "online" if internet else "offline", python]
    enter = ["sh", "-c", _ENTER, "enter", str(folder / "root"), str(folder / "kaggle")]
    folders = [*map(str, hide), "--", *map(str, keep), "--"]
    return [*_UNSHARE, *network, *enter, *folders, *pairs, "--", *start]


def _hidden_folders(more: Iterable[Path]) -> list[Path]:
    """Return the folders whose files a kernel must not see, outer folders first."""
    settings = os.environ.get("KAGGLE_CONFIG_DIR")
    folders = [Path.home(), Path(tempfile.gettempdir()), *more]
    folders += [Path(settings)] if settings else []
    real = {Path(os.path.realpath(folder)) for folder in folders}
    return sorted((folder for folder in real if folder != Path("/")), key=lambda one: one.parts)


def _python_folders(python: str) -> list[Path]:
    """Return the folders that Python and the installed packages need, outer folders first."""
    packages = [Path(path) for path in sys.path if Path(path).name.endswith("-packages")]
    folders = [Path(sys.prefix), Path(sys.base_prefix), Path(python).parent.parent, *packages]
    for folder in packages:
        for entry in sorted(folder.glob("*.pth")):
            folders += [Path(line) for line in _path_lines(entry) if line.startswith(os.sep)]
    folders = [folder for folder in folders if _is_folder(folder)]
    found = {Path(os.path.realpath(folder)) for folder in folders}
    # A virtual environment refers to its Python by the path that it was created with.
    found |= {folder.absolute() for folder in folders}
    outer = [one for one in found if not any(other in one.parents for other in found)]
    return sorted(outer, key=lambda one: one.parts)


def _installed_entries() -> list[Path]:
    """List the entries of the folders in which this Python finds packages."""
    folders = [Path(path) for path in sys.path if Path(path).name.endswith("-packages")]
    return [entry for folder in folders if folder.is_dir() for entry in sorted(folder.iterdir())]


def _is_this_package(entry: Path) -> bool:
    """Tell whether an entry makes this package importable: the package, its metadata or a .pth."""
    if entry.name == "__pycache__" or _PACKAGE in entry.name:
        return True
    if entry.suffix != ".pth":
        return False
    return any(_is_folder(Path(line) / _PACKAGE) for line in _path_lines(entry))


def _path_lines(pth: Path) -> list[str]:
    """Return the lines of a .pth file that are paths; Python executes lines with an import."""
    lines = pth.read_text(encoding="utf-8", errors="replace").splitlines()
    paths = (line.strip() for line in lines if not line.startswith(("import ", "import\t")))
    return [path for path in paths if path]


def _is_folder(path: Path) -> bool:
    """Tell whether a path is a folder; a path that is too long, for example, is none."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _make_read_only(folder: Path) -> None:
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)


def _make_writable(folder: Path) -> None:
    """Let a folder and the folders in it be emptied; links are not followed."""
    if folder.is_symlink() or not folder.is_dir():
        return
    folder.chmod(0o755)
    for parent, names, _ in os.walk(folder):
        for path in (Path(parent) / name for name in names):
            if not path.is_symlink():
                path.chmod(0o755)
