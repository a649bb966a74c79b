"""Fingerprints of how the cached tables are computed: a changed declaration or input makes them out of date.

The expressions of the inputs are part of them as Spark prints them, so a change in `inputs` needs nobody to remember
it; so does the version of the package, for all other code.
"""

from __future__ import annotations

from collections.abc import Iterable

from purchasepath import __version__
from purchasepath.config import Config
from purchasepath.features.aggregations import input_columns, used_inputs
from purchasepath.features.as_of import tile_length_us
from purchasepath.features.cache import digest
from purchasepath.features.inputs import EVENT_INPUTS, SESSION_INPUTS
from purchasepath.tables.features import (
    ITEM_FEATURES_DECLARED,
    SESSION_FEATURES_DECLARED,
    USER_FEATURES_DECLARED,
    Feature,
)
from purchasepath.tables.partials import ITEM_PARTS, TOUCH_COLUMNS, USER_PARTS


def session_recipe() -> str:
    """Of SESSION_FEATURES. Needs a Spark session, like all recipes that hold expressions."""
    inputs = input_columns(used_inputs(SESSION_FEATURES_DECLARED), SESSION_INPUTS)
    return digest(__version__, _facts(SESSION_FEATURES_DECLARED), {name: str(c) for name, c in inputs.items()})


def partials_recipe(config: Config) -> str:
    """Of USER_PARTIALS, ITEM_PARTIALS and TOUCHES."""
    names = sorted({part.input for part in (*USER_PARTS, *ITEM_PARTS)} | set(TOUCH_COLUMNS))
    inputs = {name: str(column) for name, column in input_columns(names, EVENT_INPUTS).items()}
    bots = (config.sessions.bot_events_per_window, config.sessions.bot_window_seconds)
    tile_us = tile_length_us(config.features.every_hours)
    return digest(__version__, tile_us, bots, [p.name for p in USER_PARTS], [p.name for p in ITEM_PARTS], inputs)


def as_of_recipe(config: Config) -> str:
    """Of USER_FEATURES and ITEM_FEATURES, beside that of the partials they are put together from."""
    facts = _facts(USER_FEATURES_DECLARED), _facts(ITEM_FEATURES_DECLARED)
    return digest(__version__, *facts, config.features.identity)


def _facts(features: Iterable[Feature]) -> list[object]:
    return [(f.name, f.input, f.aggregation, f.window_days, f.missing, f.over) for f in features]
