"""The table of all recipes: saved results, order of the trainings, pages and recipe files."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks import leaderboard, leaderboard_results, leaderboard_table
from benchmarks.leaderboard_results import Errors, Result
from benchmarks.leaderboard_training import FOLDS, Job

from fkd_kaggle.recipes import loading

RECIPES = Path(leaderboard_table.ROOT) / "fkd_kaggle" / "recipes"


def result(name: str, held_out: float, *, seed: int = 0, out_of_fold: float = 0.0) -> Result:
    """Return a made-up result of a shipped recipe."""
    return Result(
        name=name,
        seed=seed,
        minutes=20.0,
        schedule="equal",
        digest=leaderboard_results.plan_digest(name),
        cores=1,
        keypoints=15,
        out_of_fold=Errors(out_of_fold or held_out, held_out, held_out),
        held_out=Errors(held_out, held_out + 0.1, held_out - 0.1),
        public=held_out,
        private=held_out,
        expected=None,
        published={},
        images_per_second=100.0,
        epochs={f"{name}-f0": [10, 80]},
        parameters=1000,
        flops=2_000_000,
        seconds=1200.0,
        cores_used=1.0,
        interruptions=0,
        ended="time limit",
        machine="a machine",
        versions={},
        commit="0123456789",
        command="",
        started="2026-11-26T00:00:00+00:00",
        data="0",
    )


def options(*arguments: str) -> argparse.Namespace:
    return leaderboard._parser().parse_args(arguments)


def test_the_pages_contain_the_tables_of_the_saved_results() -> None:
    saved = leaderboard_results.read_results()
    for path, tables in (
        (leaderboard_table.PAGE, leaderboard_table.render(saved)),
        (leaderboard_table.README, leaderboard_table.render_best(saved)),
    ):
        page = path.read_text(encoding="utf-8")
        assert leaderboard_table.page_section(page) == tables


def test_the_readme_shows_the_best_recipe_of_each_architecture() -> None:
    saved = [
        result("cascade", 1.2),
        result("cascade-wide", 1.1),
        replace(result("cascade-small", 1.0), digest="other"),
        replace(result("eyes-nose", 0.9), keypoints=7),
        result("deep15", 1.7),
        result("quick", 1.05),
    ]
    rows = leaderboard_table.render_best(saved).splitlines()[2:]
    architectures = [row.split(" | ")[0].strip("| ") for row in rows]
    assert architectures == ["ensemble", "`cascade`", "`deep15`"]
    assert "[`cascade-wide`](docs/recipes.md) | 1 × 20 min | – | 1.100 |" in rows[1]


@pytest.mark.parametrize("name", loading.recipe_names())
def test_a_recipe_file_contains_what_the_recipe_reached(name: str) -> None:
    section = leaderboard_table.reached_section(leaderboard_results.read_results(), name)
    text = (RECIPES / f"{name}.toml").read_text(encoding="utf-8")
    assert leaderboard_table.with_reached(text, section) == text


def test_a_result_is_read_as_it_was_saved(tmp_path: Path) -> None:
    saved = result("cascade", 1.2)
    leaderboard_results.write_result(saved, tmp_path)
    assert leaderboard_results.read_results(tmp_path) == [saved]


def test_all_rows_are_trained_once_before_the_best_are_trained_with_more_seeds() -> None:
    names = loading.recipe_names()
    assert [(job.name, job.seed) for job in leaderboard.wanted(options(), [])] == [
        (name, 0) for name in names
    ]
    # Ranked out of fold: the held-out error must not decide.
    saved = [result(name, 9.0 - place, out_of_fold=1.0 + place) for place, name in enumerate(names)]
    jobs = leaderboard.wanted(options(), saved)
    assert [(job.name, job.seed) for job in jobs[len(names) :]] == [
        (name, seed) for seed in (1, 2) for name in names[:5]
    ]
    assert all(leaderboard.is_done(job, saved) for job in jobs[: len(names)])


def test_a_result_of_a_recipe_that_was_changed_is_not_done() -> None:
    job = Job("cascade", 0, 20.0)
    assert leaderboard.is_done(job, [result("cascade", 1.2)])
    assert not leaderboard.is_done(job, [replace(result("cascade", 1.2), digest="other")])
    assert not leaderboard.is_done(replace(job, seed=1), [result("cascade", 1.2)])


def test_all_rows_have_the_same_folds_and_one_network_trains_one_of_them() -> None:
    for name, trained in (("cascade", 1), ("farhat", 1), ("quick", 4), ("winning", 10)):
        ensemble = Job(name, 0, 20.0).plan.ensemble
        assert (ensemble.folds, ensemble.trained_folds) == (FOLDS, trained)
        assert (ensemble.split, ensemble.held_out) == ("grouped", 0.0)


def test_a_training_with_its_own_schedule_keeps_the_publications_split() -> None:
    ensemble = Job("kartalovic-leaky", 0, 120.0, "own").plan.ensemble
    assert (ensemble.split, ensemble.held_out) == ("after-augmentation", 0.15)


def test_the_table_shows_seeds_and_the_command_of_rows_that_were_not_run() -> None:
    saved = [result("cascade", 1.2), result("cascade", 1.4, seed=1), result("deep15", 1.7)]
    text = leaderboard_table.render(saved)
    (row,) = (line for line in text.splitlines() if line.startswith("| `cascade` |"))
    assert row.startswith("| `cascade` | 1.300 | 0.141 (2) | 1.400 | 1.200 |")
    assert "10 of 80" in row
    assert "| `quick` | `python tests/benchmarks/leaderboard.py --only quick` |" in text
    assert text.index("| `cascade` |") < text.index("| `deep15` |")


def test_the_table_names_results_of_recipes_that_were_changed() -> None:
    saved = [replace(result("cascade", 1.2), digest="other"), result("deep15", 1.7)]
    text = leaderboard_table.render(saved)
    assert "before their recipe was changed, to be run again: `cascade`." in text
    assert leaderboard_table.reached_section(saved, "cascade") is None


def test_a_training_on_a_busy_machine_is_marked() -> None:
    idle = leaderboard_table.render([result("cascade", 1.2)])
    busy = leaderboard_table.render([replace(result("cascade", 1.2), cores_used=0.6)])
    assert "†" not in idle
    assert "| `cascade` † | 1.200 |" in busy
    assert "† used less than 80% of its cores" in busy


def test_rows_name_the_processor() -> None:
    machine = "Intel(R) Xeon(R) Processor, 1 CPU core, Linux"
    saved = [
        replace(result("cascade", 1.2), machine=machine),
        replace(result("quick", 1.2), minutes=5.0, machine="AMD EPYC, 2 CPU cores, Linux"),
    ]
    rows = [line for line in leaderboard_table.render(saved).splitlines() if " 1.200 |" in line]
    assert [row.strip("| ").split(" | ")[-1] for row in rows] == ["Intel Xeon", "AMD EPYC"]


def test_changed_recipes_and_other_times_have_a_table_of_their_own() -> None:
    saved = [result("cascade:width=24", 1.25), replace(result("quick", 1.2), minutes=5.0)]
    text = leaderboard_table.render(saved)
    assert "| `quick` | 5 | 1 | 1.200 |" in text
    assert "| `cascade:width=24` | 20 | 1 | 1.250 |" in text
    assert "‡" not in text
    saved[1] = replace(saved[1], digest="other")
    text = leaderboard_table.render(saved)
    assert "| `quick` ‡ | 5 | 1 | 1.200 |" in text
    assert "‡ trained before the recipe was changed" in text
    assert "| `quick` | `python tests/benchmarks/leaderboard.py --only quick` |" in text


def test_trainings_with_their_own_schedule_have_a_table_with_and_without_a_metric() -> None:
    values = {"published": 0.0032, "ours": 0.0018, "copies": None, "unseen_copies": None}
    saved = [
        replace(result("multi-branch", 2.7, out_of_fold=2.6), schedule="own"),
        replace(result("masked-cnn", 2.2), schedule="own", published={"mse-centred": values}),
    ]
    text = leaderboard_table.render(saved)
    assert "| `multi-branch` | 10 of 80 | 2.600 | 2.700 | – | – | – | – | – |" in text
    row = "| `masked-cnn` | 10 of 80 | 2.200 | 2.200 | mse-centred, (px/48)² | 0.0032 | 0.0018 |"
    assert row in text


def test_the_time_to_a_score_is_the_shortest_measured_time_limit() -> None:
    expected = {3.0: (1.33, 1.25), 5.0: (1.22, 1.21), 10.0: (1.17, 1.21)}
    saved = [
        replace(result("quick", 1.1, seed=seed), minutes=minutes, expected=value)
        for minutes, values in expected.items()
        for seed, value in enumerate(values)
    ]
    lines = leaderboard_table.render_times(saved).splitlines()[2:]
    assert [line.strip("| ").split(" | ")[:3] for line in lines] == [
        ["1.30", "3", "1.290"],
        ["1.20", "10", "1.190"],
        ["1.15", "not reached", "–"],
    ]
    saved = [replace(one, digest="other") for one in saved]
    assert leaderboard_table.render_times(saved).count("not reached") == 3


def test_the_time_to_a_score_is_measured_with_all_limits_before_the_next_seed() -> None:
    jobs = leaderboard.wanted(options("--time-to-score", "--seeds", "2"), [])
    assert [(job.seed, job.minutes) for job in jobs[3:6]] == [(0, 20.0), (1, 3.0), (1, 5.0)]
    assert {job.name for job in jobs} == {"quick"}
    assert len(leaderboard.wanted(options("--time-to-score"), [])) == 12


def test_the_correlation_of_rankings_is_kendalls() -> None:
    names = ["cascade", "deep15", "heatmap", "farhat"]
    # One of six pairs is in another order: τ = 1 - 2/6.
    saved = [
        result(name, held_out, out_of_fold=estimate)
        for name, held_out, estimate in zip(
            names, (1.0, 2.0, 3.0, 4.0), (1.1, 2.5, 2.4, 5.0), strict=True
        )
    ]
    rows = leaderboard_results.rows_of(saved)
    found = leaderboard_results.rank_correlation(rows, "out_of_fold")
    assert found == pytest.approx(2 / 3)
    assert "0.67 for the out-of-fold RMSE (4 rows)" in leaderboard_table.render(saved)


def test_what_a_recipe_reached_replaces_the_earlier_value() -> None:
    section = leaderboard_table.reached_section(
        [result("cascade", 1.2), result("cascade", 1.3, seed=1)], "cascade"
    )
    assert section is not None
    assert section.startswith("[reached]\nrmse = 1.250\nminutes = 20\n")
    assert "one core, mean of 2 seeds: python tests/benchmarks/leaderboard.py" in section
    before = 'epochs = 3\n\n[reached]\nrmse = 2.0\nminutes = 1\non = "before"\n'
    once = leaderboard_table.with_reached(before, section)
    assert once == f"epochs = 3\n\n{section}"
    assert leaderboard_table.with_reached(once, section) == once
    assert leaderboard_table.with_reached(before, None) == before


def test_a_network_for_a_part_of_the_face_names_its_keypoints() -> None:
    saved = [replace(result("eyes-nose", 1.3), keypoints=7, expected=3.2)]
    section = leaderboard_table.reached_section(saved, "eyes-nose")
    assert section is not None
    assert section.startswith("[reached]\nrmse = 1.300\nkeypoints = 7\n")
    assert "3.200" not in leaderboard_table.render(saved)


def test_the_list_names_what_is_done_and_the_command_of_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    leaderboard_results.write_result(result("cascade", 1.2), tmp_path)
    arguments = ["--list", "--results", str(tmp_path), "--only", "cascade", "quick"]
    assert leaderboard.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:4] == ["done", "cascade", "seed", "0"]
    assert lines[1].endswith("python tests/benchmarks/leaderboard.py --only quick")
    assert lines[2] == "1 of 2 trainings are done"
