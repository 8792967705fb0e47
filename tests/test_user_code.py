"""Architectures, losses, metrics and imputation strategies in a user's own files."""

from __future__ import annotations

import inspect
import re
import shutil
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from conftest import make_faces, write_competition

from fkd_kaggle import models, user_code
from fkd_kaggle.ensemble import fitting, prediction
from fkd_kaggle.errors import FkdError, RecipeError
from fkd_kaggle.recipes import loading
from fkd_kaggle.recipes.plans import Plan, TrainingOptions, make_plan
from fkd_kaggle.recipes.schema import Recipe
from fkd_kaggle.runs.folder import Run

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]

NET = """
import keras

def build(heads, *, width: int = 2):
    inputs = keras.Input((96, 96, 1))
    x = keras.layers.AveragePooling2D(16)(inputs)
    x = keras.layers.Conv2D(width, 1)(x)
    x = keras.layers.Dense(2 * sum(heads))(keras.layers.Flatten()(x))
    return keras.Model(inputs, keras.layers.Reshape((sum(heads), 2))(x))
"""


@pytest.fixture
def no_trust(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A user who has never run own code."""
    monkeypatch.setenv(user_code.TRUST_FILE, str(tmp_path / "trust.txt"))
    monkeypatch.setattr(user_code, "_trusted", set())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "own.toml").write_text('architecture = "net.py:build"\nepochs = 1\n')
    return tmp_path


def load(path: Path, changes: str = "") -> Recipe:
    recipe = loading.load_recipe(f"{path}{changes}")
    assert isinstance(recipe, Recipe)
    return recipe


@pytest.mark.slow
@pytest.mark.usefixtures("eager_functions")
def test_the_documented_example_trains_and_predicts(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "extending.md").read_text()
    (shown,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    example = shutil.copytree(ROOT / "examples" / "own_code", tmp_path / "own_code")
    assert tomllib.loads(shown) == tomllib.loads((example / "my_recipe.toml").read_text())
    write_competition(tmp_path / "data")
    plan = make_plan(
        TrainingOptions(recipes=(f"{example / 'my_recipe.toml'}:epochs=1,dense=8",), folds=2)
    )
    run = fitting.start_run(tmp_path / "runs", None, plan, tmp_path / "data")
    shutil.rmtree(example)  # the run has its own copy
    scores = fitting.train_run(run, tmp_path / "data")
    assert scores.combined is not None
    (measured,) = scores.published_metrics.values()
    assert (measured["my_parts.py:worst_face"]["held_out"] or 0) > scores.combined
    again = Run.open(run.path)
    assert (again.path / "recipes" / "my_net.py").is_file()
    assert load(next(again.path.glob("recipes/*.toml"))).code
    faces = make_faces(3, seed=4)
    points = prediction.predict_run(again, tmp_path / "data", faces, faces.annotators)
    assert np.isfinite(points).all()


def test_a_text_of_another_file_is_another_recipe(folder: Path) -> None:
    before = load(folder / "own.toml")
    (folder / "net.py").write_text(NET + "\n# changed")
    assert load(folder / "own.toml").digest != before.digest


def test_options_of_an_own_architecture_are_checked(folder: Path) -> None:
    assert load(folder / "own.toml", ":width=5").options == {"width": 5}
    with pytest.raises(RecipeError, match="width must be a whole number"):
        load(folder / "own.toml", ":width=wide")
    with pytest.raises(RecipeError, match="did you mean 'width'"):
        load(folder / "own.toml", ":widht=5")


def test_options_of_a_shipped_architecture_need_no_table() -> None:
    recipe = loading.load_recipe("cascade:width=24,epochs=3")
    assert isinstance(recipe, Recipe)
    assert (recipe.options["width"], recipe.epochs) == (24, 3)
    assert recipe.digest == load(Path("cascade"), ":options.width=24,epochs=3").digest


def test_an_option_outside_its_table_is_explained(folder: Path) -> None:
    (folder / "own.toml").write_text('architecture = "cascade"\nwidth = 24\n')
    with pytest.raises(RecipeError, match=r"write it below a line \[options\]"):
        load(folder / "own.toml")


@pytest.mark.parametrize(
    ("recipe", "source", "message"),
    [
        ('architecture = "gone.py:build"', "", "gone.py cannot be read"),
        ('architecture = "net.py:built"', NET, "did you mean 'build'"),
        ('architecture = "net.py:build"', "def build(heads:\n", "net.py, line 1 is not valid"),
        ('architecture = "net.py:build"', f"return 1\n{NET}", "net.py, line 1 is not valid Python"),
        ('loss = "net.py:loss"', "def loss(errors):\n    return errors", "2 positional arguments"),
        ('imputation = "net.py:fill"', "fill = 3", "defines no function fill"),
        ('published_metric = "net.py:m"', "async def m(a, b): ...", "defines no function m"),
        ('optimizer = "net.py:build"', NET, "unknown optimizer"),
        ('code = { "a.py" = "x" }', NET, "unknown key 'code'"),
    ],
)
def test_faults_are_found_when_the_recipe_is_read(
    folder: Path, recipe: str, source: str, message: str
) -> None:
    (folder / "net.py").write_text(source)
    (folder / "own.toml").write_text(recipe)
    with pytest.raises(RecipeError, match=message):
        load(folder / "own.toml")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def build(heads): return 3", "must return a keras.Model, not int"),
        ("import gone_package\ndef build(heads): ...", "net.py, line 1: ModuleNotFoundError"),
        ("\ndef build(heads):\n    return 1 / 0", "net.py, line 3: ZeroDivisionError"),
        (NET.replace("(96, 96, 1)", "(96, 96, 3)"), "must map"),
        (
            NET.replace("* sum(heads))", '* sum(heads), dtype="bfloat16")').replace(
                "sum(heads), 2))", 'sum(heads), 2), dtype="bfloat16")'
            ),
            "predicts in bfloat16",
        ),
        ("def build(heads, *, depth): ...", "TypeError: build.. missing"),
    ],
)
def test_a_network_that_cannot_be_used_is_explained(
    folder: Path, source: str, message: str
) -> None:
    (folder / "net.py").write_text(source)
    with pytest.raises(RecipeError, match=message):
        recipe = load(folder / "own.toml")
        models.build_model(recipe.architecture, (15, 4), {}, recipe.code)


def test_code_that_comes_with_a_run_is_not_executed(folder: Path, no_trust: None) -> None:
    marker = folder / "executed"
    source = f"open({str(marker)!r}, 'w').close()\n{NET}"
    (folder / "net.py").write_text(source)
    plan = make_plan(TrainingOptions(recipes=(str(folder / "own.toml"),), folds=2))
    write_competition(folder / "data")
    run = fitting.start_run(folder / "runs", "theirs", plan, folder / "data")
    (folder / "trust.txt").unlink()  # as on a colleague's machine
    user_code._trusted.clear()
    restored = Plan.from_dict(Run.open(run.path).plan.to_dict())
    (recipe,) = {member.recipe.digest: member.recipe for member in restored.members}.values()
    assert user_code.untrusted(recipe.code) == ["net.py"]
    with pytest.raises(FkdError, match=r"run theirs contains Python code .*--trust-code"):
        fitting.train_run(run, folder / "data")
    with pytest.raises(RecipeError, match="--trust-code"):
        models.build_model(recipe.architecture, (15, 4), {}, recipe.code)
    assert not marker.exists()
    user_code.trust(recipe.code, remember=True)
    models.build_model(recipe.architecture, (15, 4), {}, recipe.code)
    assert marker.exists()
    assert (folder / "trust.txt").read_text().strip()


def test_two_different_files_of_one_name_are_refused(folder: Path) -> None:
    (folder / "other").mkdir()
    (folder / "other" / "net.py").write_text("def loss(errors, width):\n    return errors\n")
    (folder / "own.toml").write_text('architecture = "net.py:build"\nloss = "other/net.py:loss"\n')
    with pytest.raises(RecipeError, match=r"two different files are called net\.py"):
        load(folder / "own.toml")


def test_functions_of_two_texts_of_one_file_keep_their_source(no_trust: None) -> None:
    """TensorFlow reads the source of a function again when it converts the function."""
    texts = ("def build(heads):\n    return 1\n", "def build(heads):\n    return 2 / 0\n")
    functions = []
    for text in texts:
        user_code.trust({"net.py": text})
        functions.append(user_code.load_module("net.py:build", {"net.py": text}).build)
    assert tuple(inspect.getsource(function) for function in functions) == texts
    with pytest.raises(RecipeError, match=r"net\.py, line 2: ZeroDivisionError"):
        user_code.guarded("net.py:build", functions[1], (15,))


def test_an_interrupted_import_is_repeated(no_trust: None, monkeypatch: pytest.MonkeyPatch) -> None:
    code = {"net.py": "import sys\nsys.fkd_hook()\ndef build(heads): ...\n"}
    user_code.trust(code)

    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "fkd_hook", interrupt, raising=False)
    with pytest.raises(KeyboardInterrupt):
        user_code.load_module("net.py:build", code)
    monkeypatch.setattr(sys, "fkd_hook", lambda: None)
    assert user_code.load_module("net.py:build", code).build


def test_trust_that_cannot_be_remembered_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(user_code.TRUST_FILE, str(tmp_path / "file" / "trusted.txt"))
    code = {"a.py": "unique = 5170"}
    user_code.trust(code, remember=True)
    assert user_code.untrusted(code) == []


def test_user_without_a_home_folder_trusts_for_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(user_code.TRUST_FILE)
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    code = {"a.py": "unique = 5171"}
    user_code.trust(code, remember=True)
    assert user_code.untrusted(code) == []
    assert list(tmp_path.iterdir()) == []


def test_control_characters_of_an_exception_are_visible() -> None:
    def fail() -> None:
        raise ValueError("red \x1b[31m\nsecond line")

    with pytest.raises(RecipeError, match=r"red \\x1b\[31m second line"):
        user_code.guarded("a.py:fail", fail)


def test_code_is_compiled_without_the_future_imports_of_this_package(no_trust: None) -> None:
    code = {"net.py": "def build(heads: 1 + 1): ...\n"}
    user_code.trust(code)
    assert user_code.load_module("net.py:build", code).build.__annotations__ == {"heads": 2}
