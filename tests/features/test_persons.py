"""Features of the person behind a visitor: equal to nested loops, blind to logins that become known later."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import pytest
from pyspark.sql import SparkSession

from purchasepath.features.as_of import tile_length_us
from purchasepath.features.merging import merge_users
from purchasepath.features.persons import persons_behind
from purchasepath.features.tiles import events_of_days, summarize_touches, summarize_user_tiles
from purchasepath.sessions.engine.sessionize import sessionize
from purchasepath.sessions.identity import link_accounts
from purchasepath.tables.catalog import EVENTS
from tests.features.oracle import DAY, known, the_person, user_rows
from tests.features.test_entities import CONFIG, TIMES, US, Rows, T, check_equal, collect, event, random_events


def with_logins(seed: int) -> list[dict[str, Any]]:
    """Some visitors log in now and then: mostly with an account of their own, sometimes with one they share."""
    rng = random.Random(seed)
    own = {f"u{n}": f"account {n // 2}" for n in range(6)}  # u6 and u7 never log in
    return [e | {"login_id": rng.choice([own[e["user_id"]], "shared"])
                 if e["user_id"] in own and rng.random() < 0.1 else None} for e in random_events()]


HISTORY = with_logins(3)


def features_of_persons(spark: SparkSession, events: list[dict[str, Any]]) -> Rows:
    frame = EVENTS.frame(spark, events)
    sessions, identities = sessionize(frame, CONFIG).cache(), link_accounts(frame).cache()
    of_days = events_of_days(sessions, {e["event_ts"].date() for e in events}, tile_length_us(168))
    tiles, touches = summarize_user_tiles(of_days, sessions, CONFIG).cache(), summarize_touches(of_days).cache()
    behind = persons_behind(identities, TIMES).cache()
    found = collect(merge_users(tiles, touches, TIMES, behind), "user_id")
    for kept in (sessions, identities, tiles, touches, behind):
        kept.unpersist()
    return found


@pytest.fixture(scope="module")
def found(spark: SparkSession) -> Rows:
    return features_of_persons(spark, HISTORY)


def test_features_of_persons_equal_the_nested_loops(found: Rows) -> None:
    expected = user_rows(HISTORY, TIMES, CONFIG, who=the_person)
    check_equal(found, expected)
    alone = user_rows(HISTORY, TIMES, CONFIG)
    assert found.keys() == alone.keys()  # still a row per visitor and time
    shared = {key for key in alone if alone[key]["events_30d"] != expected[key]["events_30d"]}
    assert 20 < len(shared) < len(alone)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4, 8))
def test_the_same_for_other_histories(spark: SparkSession, seed: int) -> None:
    history = with_logins(seed)
    check_equal(features_of_persons(spark, history), user_rows(history, TIMES, CONFIG, who=the_person))


def test_a_login_that_becomes_known_after_t_changes_nothing_at_t(spark: SparkSession, found: Rows) -> None:
    past = known(HISTORY, T)
    # everybody logs in with one account: later, and earlier but told only after t
    later = [event(f"later-{n}", f"u{n}", T + n * US, login_id="thief") for n in range(8)]
    late = [event(f"late-{n}", f"u{n}", T - timedelta(hours=1), arrived_at=T + US, login_id="thief") for n in range(8)]
    after = features_of_persons(spark, past + later + late)

    check_equal({key: row for key, row in after.items() if key[1] <= T},
                {key: row for key, row in found.items() if key[1] <= T})
    everybody = after["u0", T + 7 * DAY]["events_30d"]
    assert {after[f"u{n}", T + 7 * DAY]["events_30d"] for n in range(8)} == {everybody}
