"""The tables of recipes and of the keys of recipe files.

Formats values; reads no recipes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from rich.table import Table
from rich.text import Text

from fkd_kaggle.data.metrics import metric_unit
from fkd_kaggle.display.wide_table import Column, WideTable, plain_table
from fkd_kaggle.formatting import format_pixels
from fkd_kaggle.recipes.keys import Key, shipped_parameters

if TYPE_CHECKING:
    from fkd_kaggle.recipes.schema import Ensemble, Recipe


NOT_RUN: Final = "not yet run"
"""Result of a recipe without a measured one (``tests/benchmarks/leaderboard.py``)."""


def recipes_table(
    items: Iterable[Recipe | Ensemble],
    reached_here: Mapping[str, tuple[str, str]] | None = None,
) -> WideTable:
    """Return recipes and ensembles with their descriptions, sizes, costs and results.

    Parameters
    ----------
    items
        The recipes and ensembles, in the order of the rows.
    reached_here
        Estimated RMSE on this machine in a time limit, and what is trained in it, by name; None for
        no such columns.
    """
    here = [] if reached_here is None else [Column("RMSE here, about", right=True)]
    trained = [] if reached_here is None else [Column("trained in that time", 1)]
    table = WideTable(
        [
            Column("name"),
            *here,
            *trained,
            Column("RMSE", 1, right=True),
            Column("cost", 2),
            Column("description and publication", 3, wraps=24),
            Column("parameters", 5, right=True),
            Column("published", 4),
        ]
    )
    for item in items:
        members = getattr(item, "members", ())
        recipes = [member.recipe for member in members] or [item]
        counts = [shipped_parameters().get(recipe.name) for recipe in recipes]
        description = (f"ensemble of {len(members)}: " if members else "") + item.description
        if item.publication:
            description += f" ({item.publication})"
        published = getattr(item, "published", {})
        table.add_row(
            item.name,
            *(() if reached_here is None else reached_here[item.name]),
            _result(item),
            _cost(item),
            description,
            f"{sum(filter(None, counts)):,}" if all(counts) else "–",
            ", ".join(f"{value:g} {metric_unit(name)}" for name, value in published.items()),
        )
    return table


def keys_table(keys: Iterable[Key]) -> Table:
    """Return keys of recipe files with their defaults and effects."""
    table = plain_table("key", "default", "effect and allowed values")
    for key in keys:
        table.add_row(Text(key.name, "bold"), Text(key.default), Text(key.comment))
    return table


def _result(item: Recipe | Ensemble) -> str:
    """Return the measured RMSE, with the number of keypoints if it is not of all of them."""
    if "rmse" not in item.reached:
        return NOT_RUN
    count = item.reached.get("keypoints")
    return format_pixels(item.reached["rmse"]) + (f" ({count} points)" if count else "")


def _cost(item: Recipe | Ensemble) -> str:
    """Return the time of the measured training, or the time limit of an ensemble."""
    if minutes := item.reached.get("minutes") or getattr(item, "minutes", 0):
        return f"{minutes:g} min"
    return "–"
