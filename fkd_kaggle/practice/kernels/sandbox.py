"""What a kernel sees: Kaggle's folders, a clean environment, a Python that knows nothing of us.

A virtual environment stands in for Kaggle's image: every installed package but this one, linked.
On Linux the kernel also gets namespaces of its own (util-linux's ``unshare`` and ``setpriv``), so
that ``/kaggle`` is true, its input read-only and its network off where it asked for none.
Elsewhere, or where the system forbids that, ``FKD_KAGGLE_ROOT`` names the folder that stands for
``/kaggle``.

It rehearses; it does not contain: a kernel is its owner's own code, with its owner's rights.
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

_FOLDERS: Final = ("input", "working", "src", "temp", "home")

_PACKAGE: Final = "fkd_kaggle"

_PASSED_ON: Final = ("LD_LIBRARY_PATH", "SYSTEMROOT")

# When the runner is killed, setpriv sees to it that the kernel is too.
_UNSHARE: Final = (
    "setpriv", "--pdeathsig", "KILL",
    "unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child",
)  # fmt: skip

# A new root with everything of the old one in it but /kaggle, which is ours. The arguments: the
# empty folder that becomes the root, the folder that becomes /kaggle, pairs of a folder and where
# under /kaggle/input it is mounted, "--", and the command. A bind mount keeps the options of the
# file system it shows, and the kernel refuses to drop them: hence the second try.
_ENTER: Final = """
set -eu
read_only() {
    mount --bind "$1" "$2"
    mount -o remount,bind,ro "$2" 2>/dev/null || mount -o remount,bind,ro,nosuid,nodev "$2" || :
}
root=$1 kaggle=$2
shift 2
mount -t tmpfs -o mode=755 none "$root"
for entry in /*; do
    here=$root$entry
    if [ "$entry" = /kaggle ]; then continue
    elif [ -L "$entry" ]; then cp -P "$entry" "$here"
    elif [ -d "$entry" ]; then mkdir "$here"; mount --rbind "$entry" "$here"
    else : > "$here"; mount --bind "$entry" "$here"; fi
done
mkdir "$root/kaggle"
mount --bind "$kaggle" "$root/kaggle"
read_only "$kaggle/src" "$root/kaggle/src"
read_only "$kaggle/input" "$root/kaggle/input"
while [ "$1" != -- ]; do
    read_only "$1" "$root/kaggle/input/$2"
    shift 2
done
shift
exec chroot "$root" "$@"
"""

# A network namespace starts with its loopback down, and what a kernel runs may need it.
_START: Final = """
import fcntl, os, socket, struct, sys
if sys.argv[1] == "offline":
    with socket.socket() as link:
        fcntl.ioctl(link, 0x8914, struct.pack("16sh", b"lo", 0x1 | 0x40))
os.chdir("/kaggle/working")
os.environ["PWD"] = "/kaggle/working"
os.execv(sys.argv[2], sys.argv[2:])
"""


@dataclass(frozen=True)
class Mount:
    """A folder that a kernel reads under ``/kaggle/input``."""

    source: Path
    at: str
    """Its path under ``/kaggle/input``."""


def prepare_image(folder: Path) -> Path:
    """Make the stand-in for Kaggle's image in ``folder``, anew; return its Python."""
    shutil.rmtree(folder, ignore_errors=True)
    venv.EnvBuilder(symlinks=os.name != "nt").create(folder)
    paths = sysconfig.get_paths(
        "nt_venv" if os.name == "nt" else "posix_venv",
        {"base": str(folder), "platbase": str(folder)},
    )
    packages = Path(paths["purelib"])
    for entry in _installed():
        link = packages / entry.name
        if not link.exists() and not _is_ours(entry):
            link.symlink_to(entry, target_is_directory=entry.is_dir())
    return Path(paths["scripts"]) / ("python.exe" if os.name == "nt" else "python")


@cache
def is_isolated() -> bool:
    """Tell whether this system lets a kernel have namespaces of its own."""
    if not sys.platform.startswith("linux"):
        return False
    with tempfile.TemporaryDirectory() as name:
        prepare_folders(Path(name), "", [], isolated=True)
        command = _enter(Path(name), [], internet=False, python=sys.executable)
        try:
            done = subprocess.run(
                [*command, "-I", "-S", "-c", "open('/kaggle/working/made', 'w')"],
                stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60,
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError):
            return False
        return done.returncode == 0 and (Path(name) / "kaggle" / "working" / "made").exists()


def prepare_folders(folder: Path, text: str, mounts: Iterable[Mount], *, isolated: bool) -> None:
    """Make Kaggle's folders for a kernel under ``folder/kaggle``, its script and input in them."""
    kaggle = folder / "kaggle"
    for name in _FOLDERS:
        (kaggle / name).mkdir(parents=True, exist_ok=True)
    (folder / "root").mkdir(exist_ok=True)
    (kaggle / "src" / "script.py").write_text(text, encoding="utf-8", newline="")
    for mount in mounts:
        target = kaggle / "input" / mount.at
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
) -> dict[str, Any]:
    """Return command, folder and environment of the kernel laid out in ``folder``."""
    kaggle = Path("/kaggle") if isolated else folder / "kaggle"
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    environment |= {
        "PATH": f"{python.parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(kaggle / "home"),
        # Left to itself, pip would follow the image's links and replace this machine's packages.
        "PIP_TARGET": str(kaggle / "home" / "packages"),
        "PYTHONPATH": str(kaggle / "home" / "packages"),
        "TMPDIR": str(kaggle / "temp"),
        "LANG": "C.UTF-8",
        "MPLBACKEND": "agg",
        "KAGGLE_KERNEL_RUN_TYPE": "Batch",
        "KAGGLE_CONTAINER_NAME": f"kaggle-{session}",
    }
    if not gpu:
        environment["CUDA_VISIBLE_DEVICES"] = ""
    script = str(kaggle / "src" / "script.py")
    if isolated:
        command = _enter(folder, mounts, internet=internet, python=str(python))
        return {"command": [*command, script], "cwd": str(folder), "environment": environment}
    environment[ROOT_VARIABLE] = str(kaggle)
    return {
        "command": [str(python), script],
        "cwd": str(kaggle / "working"),
        "environment": environment,
    }


def clean_up(folder: Path) -> None:
    """Remove what a kernel that is over needs no more; its output stays."""
    for name in ("input", "src", "temp", "home"):
        _make_writable(folder / "kaggle" / name)
        shutil.rmtree(folder / "kaggle" / name, ignore_errors=True)
    shutil.rmtree(folder / "root", ignore_errors=True)


def _enter(folder: Path, mounts: Sequence[Mount], *, internet: bool, python: str) -> list[str]:
    pairs = [part for mount in mounts for part in (str(mount.source), mount.at)]
    network = [] if internet else ["--net"]
    start = [python, "-I", "-S", "-c", _START, "online" if internet else "offline", python]
    enter = ["sh", "-c", _ENTER, "enter", str(folder / "root"), str(folder / "kaggle")]
    return [*_UNSHARE, *network, *enter, *pairs, "--", *start]


def _installed() -> list[Path]:
    """List what lies in the folders that this Python finds packages in."""
    folders = [Path(path) for path in sys.path if Path(path).name.endswith("-packages")]
    return [entry for folder in folders if folder.is_dir() for entry in sorted(folder.iterdir())]


def _is_ours(entry: Path) -> bool:
    """Tell whether an installed thing leads to this package: itself, its notes, a .pth to it."""
    if entry.name == "__pycache__" or _PACKAGE in entry.name:
        return True
    if entry.suffix != ".pth":
        return False
    lines = entry.read_text(encoding="utf-8", errors="replace").splitlines()
    return any(line.strip() and (Path(line.strip()) / _PACKAGE).is_dir() for line in lines)


def _make_read_only(folder: Path) -> None:
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)


def _make_writable(folder: Path) -> None:
    if folder.is_dir():
        for path in [folder, *(one for one in folder.rglob("*") if one.is_dir())]:
            path.chmod(0o755)
