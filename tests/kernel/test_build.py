"""Built kernels: metadata, script and the packed package."""

from __future__ import annotations

import ast
import base64
import importlib.metadata
import io
import json
import lzma
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slugify import slugify

from fkd_kaggle.errors import KernelError
from fkd_kaggle.kernel import build, entry_point, environment
from fkd_kaggle.kernel.job import KernelTask, blend_task, shard_tasks
from fkd_kaggle.kernel.names import slug_for, title_for
from fkd_kaggle.recipes import plans

ABOVE_KERNEL = ("__main__.py", "api", "cli", "export", "photos", "practice")
"""Parts of the package that a kernel does not import."""

ROOT = Path(__file__).parents[2]

TASK = KernelTask(
    plans.make_plan(plans.TrainingOptions(["standard"], time_limit=3600)), "standard-1"
)

RUN_NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,79}", fullmatch=True)


def built(folder: Path, task: KernelTask = TASK, **options: Any) -> Path:
    slug = slug_for(task.run_name, task.shard)
    names = {"owner": "someone", "slug": slug, "title": title_for(slug), **options}
    return build.write_kernel(folder, task, **names)


def constants(script: str) -> dict[str, str]:
    """Return the script's texts by name: TASK and PACKAGE."""
    return {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse(script).body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Constant)
    }


def packed(script: str) -> dict[str, bytes]:
    with zipfile.ZipFile(
        io.BytesIO(lzma.decompress(base64.b64decode(constants(script)["PACKAGE"])))
    ) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> str:
    return (built(tmp_path_factory.mktemp("kernel")) / "train_ensemble.py").read_text()


def test_metadata_select_two_t4s_without_internet(tmp_path: Path) -> None:
    folder = built(tmp_path / "new")
    assert {path.name for path in folder.iterdir()} == {"kernel-metadata.json", "train_ensemble.py"}
    metadata = json.loads((folder / "kernel-metadata.json").read_text())
    expected = {
        "id": "someone/fkd-standard-1", "title": "Fkd Standard 1", "language": "python",
        "code_file": "train_ensemble.py", "kernel_type": "script", "is_private": True,
        "enable_gpu": True, "enable_internet": False, "machine_shape": "NvidiaTeslaT4",
        "competition_sources": ["facial-keypoints-detection"],
        "kernel_sources": [],
    }  # fmt: skip
    assert expected.items() <= metadata.items()


def test_a_blend_reads_its_shards_and_uses_no_gpu(tmp_path: Path) -> None:
    folder = built(tmp_path, blend_task(TASK, ["someone/a", "someone/b"]))
    metadata = json.loads((folder / "kernel-metadata.json").read_text())
    assert metadata["kernel_sources"] == ["someone/a", "someone/b"]
    assert metadata["enable_gpu"] is False
    assert metadata["machine_shape"] == "None"  # without it, Kaggle may choose a GPU


def test_a_reader_finds_what_is_trained_the_steps_the_source_and_the_licence(script: str) -> None:
    readable = script[: script.index("TASK = ")]
    assert len(readable.splitlines()) < 90
    assert max(len(line) for line in readable.splitlines()) <= 100
    for words in (
        f"train the ensemble standard ({len(TASK.members)} networks)",
        "Run: standard-1", "Recipe ", "Folds: ",
        "Time: at most 1:00 h of training", "4. train the networks", "--unpack FOLDER",
        "Licence: MIT", "kernel.check_machine()", "kernel.find_data()", "kernel.train()",
        "kernel.write_submission()", "kernel.write_report()", "kernel.print_scores()",
    ):  # fmt: skip
        assert words in readable


def test_the_packed_code_comes_last(script: str) -> None:
    after = script.partition('PACKAGE = """')[2].partition('"""')[2]
    assert len(after.splitlines()) < 10
    assert script.index("TASK = ") < script.index("PACKAGE = ")


def test_the_script_unpacks_its_source_code(script: str, tmp_path: Path) -> None:
    (tmp_path / "kernel.py").write_text(script)
    command = [sys.executable, "-I", str(tmp_path / "kernel.py"), "--unpack", str(tmp_path / "src")]
    subprocess.run(command, check=True)
    found = (tmp_path / "src" / "fkd_kaggle" / "kernel" / "entry_point.py").read_bytes()
    assert found == Path(entry_point.__file__).read_bytes()
    assert b"MIT License" in (tmp_path / "src" / "fkd_kaggle" / "LICENSE").read_bytes()


CODE = """
def build(faces, package="{package}", text=r"PACKAGE = ''"):
    'SUMMARY_TITLE \\ " and \'\'\''
    return \"\"\"{task}\"\"\"
"""


@pytest.mark.parametrize("notebook", [False, True])
def test_texts_of_the_user_cannot_break_the_script(tmp_path: Path, notebook: bool) -> None:
    """Descriptions with quotation marks and escapes, and own code in a recipe."""
    line = TASK.plan.ensemble.members[0]
    recipe = replace(
        line.recipe, description='three """ quotes, a \\N{x} and PACKAGE = """"""',
        code={"net.py": CODE},
    )  # fmt: skip
    plan = replace(TASK.plan, ensemble=replace(
        TASK.plan.ensemble, members=(replace(line, recipe=recipe),),
        description='TASK = r"""{}""" \\u12',
    ))  # fmt: skip
    task = replace(TASK, plan=plan)
    text = build.read_script(built(tmp_path, task, notebook=notebook))
    if notebook:
        text = json.loads(text)["cells"][1]["source"]
    assert KernelTask.from_json(constants(text)["TASK"]) == task
    assert "fkd_kaggle/kernel/entry_point.py" in packed(text)


def test_the_script_carries_the_job_and_the_package_as_it_is(script: str) -> None:
    assert KernelTask.from_json(constants(script)["TASK"]) == TASK
    ours = {name: data for name, data in packed(script).items() if name.startswith("fkd_kaggle/")}
    assert ours.pop("fkd_kaggle/LICENSE") == (ROOT / "LICENSE").read_bytes()
    sources = {
        path.relative_to(ROOT).as_posix(): path.read_bytes()
        for path in (ROOT / "fkd_kaggle").rglob("*")
        if path.suffix in (".py", ".toml", ".typed", ".html", ".json")
        and path.relative_to(ROOT).parts[1] not in ABOVE_KERNEL
    }
    assert ours == sources
    assert "fkd_kaggle/report/templates/base.html" in ours
    others = {name for name in packed(script) if not name.startswith("fkd_kaggle/")}
    assert {name.split("/")[0].split("-")[0] for name in others} == {"tomli_w"}
    assert [name for name in others if "LICENSE" in name]  # what its licence asks for


def test_building_again_gives_the_same_bytes(script: str, tmp_path: Path) -> None:
    assert (built(tmp_path) / "train_ensemble.py").read_text() == script


def test_no_credential_is_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KAGGLE_KEY", "KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, f"not-to-be-seen-{name.lower()}")
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path))
    (tmp_path / "kaggle.json").write_text('{"username": "u", "key": "not-to-be-seen-file"}')
    text = (built(tmp_path / "kernel") / "train_ensemble.py").read_text()
    secret = re.compile("KEY|TOKEN|SECRET|PASSW|CREDENTIAL|AUTH|USERNAME", re.I)
    values = [v for k, v in os.environ.items() if secret.search(k) and len(v) >= 8]
    assert len(values) >= 4
    for where, content in (("the script", text.encode()), *packed(text).items()):
        for value in (*values, "not-to-be-seen"):
            assert value.encode() not in content, f"a credential is in {where}"


def test_a_script_that_is_too_large_is_refused_with_both_sizes(tmp_path: Path) -> None:
    line = TASK.plan.ensemble.members[0]
    long = replace(line, recipe=replace(line.recipe, description="x" * build.MAX_SOURCE_BYTES))
    plan = replace(TASK.plan, ensemble=replace(TASK.plan.ensemble, members=(long,)))
    with pytest.raises(KernelError, match=r"has 1,\d{3},\d{3} bytes, Kaggle takes 1,000,000"):
        built(tmp_path, replace(TASK, plan=plan))
    assert not list(tmp_path.iterdir())


def test_the_largest_script_leaves_room_below_kaggles_limit(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """The ensemble with the most recipes; the size is a property of the test's report."""
    largest = 0
    for name in ("winning", "standard", "quick", "smoke"):
        plan = plans.make_plan(plans.TrainingOptions([name]))
        for notebook in (False, True):
            task = KernelTask(plan, f"{name}-1")
            folder = built(tmp_path / f"{name}-{notebook}", task, notebook=notebook)
            largest = max(largest, len(build.read_script(folder).encode()))
    left = build.MAX_SOURCE_BYTES - largest
    record_property("bytes left below Kaggle's limit", left)
    print(f"largest script: {largest:,} bytes, {left:,} left")
    assert left > 250_000, f"only {left:,} bytes are left below Kaggle's limit of 1 MB"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"owner": "some one"}, "owner has letters"),
        ({"slug": "a/b"}, "name has letters"),
        ({"slug": "abc", "title": "Abc"}, "5 to 50 characters, not 3"),
        ({"title": "t" * 51}, "5 to 50 characters, not 51"),
        ({"slug": "one-thing", "title": "Another Thing"}, "use the title 'One Thing'"),
    ],
)
def test_invalid_names_are_refused(options: dict[str, Any], problem: str, tmp_path: Path) -> None:
    with pytest.raises(KernelError, match=problem):
        built(tmp_path, **options)


@given(RUN_NAMES, st.none() | st.integers(0, 30))
def test_kaggle_derives_the_slug_from_the_title(name: str, shard: int | None) -> None:
    slug = slug_for(name, shard)
    assert slugify(title_for(slug)) == slug
    assert 5 <= len(title_for(slug)) <= 50


def test_long_run_names_have_different_slugs() -> None:
    assert slug_for("r" * 70 + "1") != slug_for("r" * 70 + "2")


def test_shards_share_all_members_evenly() -> None:
    shards = shard_tasks(TASK, 2)
    assert [task.shard for task in shards] == [0, 1]
    names = [[member.name for member in task.members] for task in shards]
    assert sorted(names[0] + names[1]) == sorted(member.name for member in TASK.members)
    loads = [sum(member.share for member in task.members) for task in shards]
    assert loads == [sum(member.share for member in TASK.members) / 2] * 2
    assert not any(task.submits for task in shards)
    assert blend_task(TASK, ["a/b", "a/c"]).submits
    most = len(TASK.members)
    for count in (0, most + 1):
        with pytest.raises(KernelError, match=f"ask for 1 to {most} with"):
            shard_tasks(TASK, count)


@pytest.mark.slow
def test_an_installed_package_builds_the_same_kernel(script: str, tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        wheel.extractall(tmp_path / "site")
    code = f"""
from pathlib import Path
from fkd_kaggle.kernel import build
from fkd_kaggle.kernel.job import KernelTask
assert build.__file__.startswith({str(tmp_path)!r})
task = KernelTask.from_json({TASK.to_json()!r})
names = dict(owner="someone", slug="fkd-standard-1", title="Fkd Standard 1")
build.write_kernel(Path("out"), task, **names)
"""
    path = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env=path)
    assert (tmp_path / "out" / "train_ensemble.py").read_text() == script


def test_the_oldest_versions_are_those_the_project_promises() -> None:
    promised = (ROOT / "pyproject.toml").read_text()
    for name in ("keras", "tensorflow", "numpy", "pandas", "scipy"):
        assert f'"{name}>={environment.OLDEST[name]}"' in promised


def test_an_image_without_required_packages_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    environment.check_versions()  # this one will
    installed = dict(importlib.metadata.packages_distributions())
    del installed["sklearn"]
    monkeypatch.setattr(importlib.metadata, "packages_distributions", lambda: installed)
    real = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: "2.15.0" if name == "keras" else real(name)
    )
    with pytest.raises(KernelError) as refused:
        environment.check_versions()
    message = str(refused.value)
    assert "keras is 2.15.0 (at least 3.8 is needed)" in message
    assert "sklearn is missing (at least 1.2.2 is needed)" in message
    assert "\n" not in message
