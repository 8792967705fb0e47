"""Recipe files: shipped recipes, validation, and changes on the command line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fkd_kaggle.errors import RecipeError
from fkd_kaggle.recipes import loading, plans, schema
from fkd_kaggle.recipes.schema import Ensemble, Recipe


@pytest.mark.parametrize("name", loading.recipe_names())
def test_every_shipped_recipe_loads(name: str) -> None:
    assert loading.load_recipe(name).name == name


def test_the_default_ensemble_has_15_convolutions_and_both_region_networks() -> None:
    assert {"deep15", "eyes-nose", "mouth-eyebrows"} <= set(loading.recipe_names())
    default = loading.load_recipe(schema.DEFAULT)
    assert isinstance(default, Ensemble)
    named = {line.recipe.name for line in default.members}
    assert {"deep15-aligned", "eyes-nose", "mouth-eyebrows"} <= named


@pytest.mark.parametrize(("name", "complete"), [("eyes-nose", 7), ("mouth-eyebrows", 8)])
def test_region_networks_predict_the_keypoints_of_their_region(name: str, complete: int) -> None:
    recipe = loading.load_recipe(name)
    assert isinstance(recipe, Recipe)
    assert len(recipe.outputs()[0]) == complete


def test_a_network_for_one_annotator_has_the_outputs_of_that_annotator() -> None:
    def outputs(rows: str) -> list[int]:
        recipe = loading.load_recipe(f"deep15:rows={rows}")
        assert isinstance(recipe, schema.Recipe)
        return [len(points) for points in recipe.outputs()]

    assert (outputs("all"), outputs("complete"), outputs("partial")) == ([15, 4], [15], [4])


@pytest.mark.parametrize("name", ["deep15", "farhat", "kartalovic"])
def test_a_recipe_is_restored_from_its_file(tmp_path: Path, name: str) -> None:
    recipe = loading.load_recipe(name)
    assert isinstance(recipe, Recipe)
    path = tmp_path / "mine.toml"
    path.write_text(loading.to_toml(recipe), encoding="utf-8")
    mine = loading.load_recipe(str(path))
    assert isinstance(mine, Recipe)
    assert mine == replace(recipe, name="mine")
    assert mine.digest == recipe.digest


def test_the_digest_depends_on_training_and_not_on_descriptions(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    digests = []
    for text in ("", 'description = "words"\n', "epochs = 7\n"):
        path.write_text(text, encoding="utf-8")
        recipe = loading.load_recipe(str(path))
        assert isinstance(recipe, Recipe)
        digests.append(recipe.digest)
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("epoch = 7", "did you mean 'epochs'"),
        ('architecture = "heatmpa"', "did you mean 'heatmap'"),
        ('region = "nose"', "unknown region"),
        ('loss = "smooth-l2"', "did you mean 'smooth-l1'"),
        ("epochs = 0", "epochs must be above 0"),
        ('epochs = "many"', "epochs must be a whole number"),
        ("learning_rate = true", "learning_rate must be a number"),
        ("[augmentation]\nrotaton = 3", "did you mean 'rotation'"),
        ("[augmentation]\nshift = -1", "must not be negative"),
        ("epochs = ", "not valid TOML"),
        ("members = []", "members is empty"),
        ('members = [{ recipe = "nope" }]', "unknown recipe 'nope'"),
        ('imputation = "ffil"', "did you mean 'ffill'"),
        ('rows = "partail"', "did you mean 'partial'"),
        ('blend = "stak"\nmembers = [{ recipe = "deep15" }]', "did you mean 'stack'"),
        ('published_metric = "rmse"', "did you mean 'rmse-px'"),
        ("[published]\naccuracy = 1", "did you mean 'keras-accuracy'"),
        ('target_scale = "centered"', "did you mean 'centred'"),
        ('split = "grouped-first"', "unknown split"),
        ("held_out = 1.0", "held_out is a share"),
        ("validation = -0.1", "validation is a share"),
        ('split = "after-augmentation"', "needs offline_augmentation and held_out"),
        ("[options]\nwidht = 3", "did you mean 'width'"),
        ("[options]\nwidth = 3.5", "options.width must be a whole number"),
        ("[options]\nwidth = true", "options.width must be a whole number"),
        (
            'architecture = "plain-cnn"\n[options]\nfilters = "many"',
            "must be a list of whole numbers",
        ),
        (
            'architecture = "plain-cnn"\n[options]\ndense = [1, "b"]',
            "must be a list of whole numbers",
        ),
        ('architecture = "plain-cnn"\n[options]\ntarget_scale = "unit"', "unknown option"),
        ('target_scale = "unit"', "which heatmap is not"),
        ('augmentation = "farhta"', "did you mean 'farhat'"),
        ('[augmentation]\nset = "nothing"', "unknown set"),
        ("options = 3", "options must be a table"),
        ("learning_rate = inf", "learning_rate must be a number"),
        ("learning_rate = nan", "learning_rate must be a number"),
        ("augmentation = 3", "augmentation must be"),
        ('[augmentation]\ndistribution = "unifrom"', "did you mean 'uniform'"),
        ("[augmentation]\nflip = 2", "at most 1"),
        ("[augmentation]\nblur = 1.5", "at most 1"),
        ("[augmentation]\ngain = 1.5", "below 1"),
        ("[augmentation]\nlighting_gradient = 1.0", "below 1"),
        ("offline_augmentation = [{ rotaton = 3.0 }]", "did you mean 'rotation'"),
        ("offline_augmentation = [3]", "each of offline_augmentation"),
        ("offline_augmentation = [{ flip = 1 }]", "true or false"),
        ("offline_augmentation = [{ gain = 0.0 }]", "gain must be above 0"),
        ("clip_norm = -1.0", "clip_norm must not be negative"),
        ("patience = 3", "patience = 3 has no effect with schedule = 'cosine'"),
        ('[published]\nmae-px = "5.1"', "published.mae-px must be a number, not '5.1'"),
        ("[published]\nmae-px = nan", "published.mae-px must be a number"),
        ('[reached]\nrmse = "1.5"', "reached.rmse must be a number, not '1.5'"),
        ("[reached]\nminutes = [20]", "reached.minutes must be a number, not [20]"),
        ("[reached]\nrmse = true", "reached.rmse must be a number, not True"),
        (
            'members = [{ recipe = "deep15" }]\n[reached]\nrmse = "1.5"',
            "reached.rmse must be a number",
        ),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        loading.load_recipe(str(path))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_binary_file_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(b"description = '\xff'")
    with pytest.raises(RecipeError, match="not UTF-8"):
        loading.load_recipe(str(path))


def test_keys_are_changed_on_the_command_line(tmp_path: Path) -> None:
    recipe = loading.load_recipe("deep15:imputation=knn,augmentation.flip=0,options.dense=[64, 32]")
    assert isinstance(recipe, Recipe)
    assert recipe.imputation == "knn"
    assert recipe.augmentation.flip == 0
    assert recipe.augmentation.rotation == 8.0  # the value of the file
    assert recipe.options["dense"] == [64, 32]
    path = tmp_path / "mine.toml"
    path.write_text("epochs = 3\n", encoding="utf-8")
    varied = loading.load_recipe(f"{path}:batch_size=5")
    assert isinstance(varied, Recipe)
    assert (varied.epochs, varied.batch_size) == (3, 5)
    both = plans.make_plan(
        plans.TrainingOptions(["deep15", "deep15:imputation=knn"])
    ).ensemble.members
    assert [line.recipe.name for line in both] == ["deep15", "deep15-imputation-knn"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("deep15:imputation=kn", "did you mean 'knn'"),
        ("deep15:imputaton=knn", "did you mean 'imputation'"),
        ("deep15:imputation", "KEY=VALUE"),
        ("deep15:", "KEY=VALUE"),
        ("deep15:epochs.x=1", "epochs is not a table"),
        ("deep15:epochs=ten", "epochs must be a whole number"),
        ("deep51:epochs=1", "did you mean 'deep15'"),
    ],
)
def test_an_impossible_change_is_refused_in_one_line(name: str, says: str) -> None:
    with pytest.raises(RecipeError) as caught:
        loading.load_recipe(name)
    assert says in str(caught.value)


def test_a_named_augmentation_can_be_changed(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('augmentation = "farhat"\n', encoding="utf-8")
    for name, flip in ((str(path), 0.5), (f"{path}:augmentation.flip=0.25", 0.25)):
        recipe = loading.load_recipe(name)
        assert isinstance(recipe, Recipe)
        assert recipe.augmentation == replace(schema.AUGMENTATIONS["farhat"], flip=flip)
    path.write_text('[augmentation]\nset = "none"\nrotation = 5\n', encoding="utf-8")
    recipe = loading.load_recipe(str(path))
    assert isinstance(recipe, Recipe)
    assert recipe.augmentation == replace(schema.AUGMENTATIONS["none"], rotation=5)


def test_commas_within_brackets_do_not_separate_changes() -> None:
    name = "deep15:offline_augmentation=[{flip=true},{rotation=12.0,gain=1.2}],epochs=3"
    recipe = loading.load_recipe(name)
    assert isinstance(recipe, Recipe)
    assert recipe.offline_augmentation == (
        schema.OfflineCopy(flip=True),
        schema.OfflineCopy(rotation=12.0, gain=1.2),
    )
    assert recipe.epochs == 3


def test_a_member_of_an_ensemble_can_be_renamed(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('members = [{ recipe = "deep15:epochs=3", name = "short" }]', encoding="utf-8")
    ensemble = loading.load_recipe(str(path))
    assert isinstance(ensemble, Ensemble)
    (line,) = ensemble.members
    assert (line.recipe.name, line.recipe.epochs) == ("short", 3)
    path.write_text('members = [{ recipe = "deep15", name = "a/b" }]', encoding="utf-8")
    with pytest.raises(RecipeError, match="name must consist of letters"):
        loading.load_recipe(str(path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('members = [{ recipe = "SELF" }]', "is itself an ensemble"),
        ("options = { a = " + "[" * 40 + "]" * 40 + " }", "nested too deeply"),
        ("options = { a = " + "[" * 5000 + "]" * 5000 + " }", "nested too deeply"),
        ("epochs = " + "9" * 5000, "not valid TOML"),
        ("epochs = " + "9" * 400, "epochs must be a whole number"),
        ("learning_rate = " + "9" * 400, "learning_rate must be a number"),
        ("learning_rate = nan", "learning_rate must be a number"),
        ("batch_size = 1000000000", "batch_size must be at most 1,000,000"),
        ("options = { width = 10000000000 }", "options.width must be at most"),
        ("options = { width = " + "9" * 400 + " }", "options.width must be at most"),
        ("[augmentation]\nrotation = 1e15", "augmentation.rotation must be at most"),
        ('members = [{ recipe = "deep15", seeds = -1 }]', "seeds must be from 1"),
        ('members = [{ recipe = "deep15", seeds = 100000 }]', "seeds must be from 1 to 1000"),
        ('members = [{ recipe = "deep15", share = -2.0 }]', "share must be above 0"),
        ('folds = -3\nmembers = [{ recipe = "deep15" }]', "folds must be at least 2"),
        ('folds = 1000000\nmembers = [{ recipe = "deep15" }]', "folds must be at most 1,000"),
        (
            'folds = 3\ntrained_folds = 4\nmembers = [{ recipe = "deep15" }]',
            "trained_folds must be from 0 (all) to folds = 3",
        ),
        ('held_out = 1.5\nmembers = [{ recipe = "deep15" }]', "held_out is a share"),
        ('minutes = -5\nmembers = [{ recipe = "deep15" }]', "minutes must not be negative"),
    ],
)
def test_impossible_recipes_are_refused_in_one_line(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "own.toml"
    path.write_text(text.replace("SELF", path.as_posix()))
    with pytest.raises(RecipeError) as caught:
        loading.load_recipe(str(path))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400 + len(str(tmp_path))


def test_two_ensembles_that_contain_each_other_are_refused(tmp_path: Path) -> None:
    first, second = tmp_path / "a.toml", tmp_path / "b.toml"
    first.write_text(f'members = [{{ recipe = "{second.as_posix()}" }}]')
    second.write_text(f'members = [{{ recipe = "{first.as_posix()}" }}]')
    with pytest.raises(RecipeError, match="is itself an ensemble"):
        loading.load_recipe(str(first))


def test_a_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_bytes(b"\xef\xbb\xbfepochs = 3\n")
    recipe = loading.load_recipe(str(tmp_path / "own.toml"))
    assert isinstance(recipe, Recipe)
    assert recipe.epochs == 3


@pytest.mark.parametrize("name", ["x" * 300 + ".toml", "a\0b.toml", "."])
def test_names_that_no_file_can_have_are_refused(name: str) -> None:
    with pytest.raises(RecipeError):
        loading.load_recipe(name)


def test_a_long_name_is_shortened() -> None:
    recipe = loading.load_recipe("deep15:description='" + "long " * 100 + "'")
    assert isinstance(recipe, Recipe)
    assert len(recipe.name) < 150


def test_a_whole_number_is_a_learning_rate() -> None:
    recipe = loading.load_recipe("heatmap:learning_rate=1")
    assert isinstance(recipe, Recipe)
    assert isinstance(recipe.learning_rate, float)


def test_commas_within_quotation_marks_do_not_separate_changes() -> None:
    recipe = loading.load_recipe('heatmap:publication="Smith, 2020",epochs=7')
    assert isinstance(recipe, Recipe)
    assert (recipe.publication, recipe.epochs) == ("Smith, 2020", 7)


def test_recipe_files_of_an_ensemble_are_found_beside_it(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("epochs = 7\n")
    text = 'members = [{ recipe = "mine.toml" }, { recipe = "mine.toml:epochs=9" }]\n'
    (tmp_path / "both.toml").write_text(text)
    ensemble = loading.load_recipe(str(tmp_path / "both.toml"))
    assert isinstance(ensemble, Ensemble)
    assert [member.recipe.epochs for member in ensemble.members] == [7, 9]
    assert [member.recipe.name for member in ensemble.members] == ["mine", "mine-epochs-9"]


def test_first_weights_are_found_beside_the_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes/mine.toml").write_text(
        'architecture = "transfer"\n[options]\nweights = "mine.weights.h5"\n'
    )
    monkeypatch.chdir(tmp_path)

    def weights(name: str) -> str:
        recipe = loading.load_recipe(name)
        assert isinstance(recipe, Recipe)
        return str(recipe.options["weights"])

    beside = str(tmp_path / "recipes/mine.weights.h5")
    assert weights("recipes/mine.toml") == beside
    assert weights("recipes/mine.toml:side=96") == beside
    # Paths in changes start from the current folder.
    here = str(tmp_path / "other.weights.h5")
    assert weights("recipes/mine.toml:weights=other.weights.h5") == here
    assert weights("ffhq-transfer:options.weights=other.weights.h5") == here
    assert weights("ffhq-transfer") == "auto"
