"""Examples against a golden shop worked out by hand, and against a slow oracle in plain Python."""

from __future__ import annotations

import random
from collections import defaultdict
from math import log1p
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from purchasepath.config import Dataset
from purchasepath.datasets.manifest import Boundaries, Manifest, Statistics
from purchasepath.datasets.sequences import build_examples, events_of, points_in, scoring_examples
from purchasepath.datasets.split import TimeSplit, split_by_time
from purchasepath.features.as_of import as_of_times
from purchasepath.tables.catalog import EVENT_TYPES, EXAMPLES, VOCABULARY
from purchasepath.tables.tasks import LABEL_NAMES
from tests.datasets.shop import Event, at, features_at, labels_at, sessions_of

KNOBS = Dataset(horizon_hours=24, valid_hours=48, test_hours=48, max_length=8)
SPLIT: TimeSplit = split_by_time(at(0), at(240), KNOBS, every_hours=24, gap_minutes=180)
"""Train ends at 144 h, valid at 192, test at 240; sessions that end after 237 may go on."""
TIMES = as_of_times(at(0), at(240), 24)
SPANS = {"train": (-1e9, 144.0), "valid": (144.0, 192.0), "test": (192.0, 240.0)}
FEATURE = ("events_1d",)
STATISTICS = Statistics(price_mean=1.0, price_std=2.0, feature_mean=(4.0,), feature_std=(2.0,))
ITEMS = {f"i{k}": k + 3 for k in range(8)}
NUM_KNOWN = 10
"""i7 is in the vocabulary and has no history: no target in train."""


def vocabulary(spark: SparkSession) -> DataFrame:
    return VOCABULARY.frame(spark, [{"item_id": item, "id": id, "count": 9} for item, id in ITEMS.items()])


def random_shop(seed: int) -> tuple[list[Event], list[tuple[str, float, float]]]:
    chance = random.Random(seed)
    events = [
        Event(f"u{chance.randrange(20)}", round(chance.random() * 240, 2),
              chance.choice([None, "rare", *ITEMS]), chance.choice(["view", "view", "cart", "purchase"]),
              chance.choice([None, 2.0, 5.0]), late_hours=chance.choice([0] * 15 + [1, 30]), id=f"e{number:04d}")
        for number in range(600)
    ]
    return events, [(f"u{user}", hour, chance.random() * 9) for user in range(20) for hour in range(24, 241, 24)]


def short_histories() -> tuple[list[Event], list[tuple[str, float, float]]]:
    """Users with fewer events than an example holds, all in the training span."""
    chance = random.Random(8)
    events = [Event(f"short{u}", round(chance.random() * 60, 2), chance.choice([None, "rare", *ITEMS]),
                    chance.choice(["view", "purchase"]), chance.choice([None, 3.0]), id=f"s{u}{n}")
              for u in range(6) for n in range(7)]
    return events, [(f"short{u}", 48.0, float(u)) for u in range(6)]


HAND_MADE = [
    Event("ann", 10, "i1", "view", price=0.0),
    Event("ann", 10.5, "i1", "cart"),          # the same item again: no target
    Event("ann", 20, None, "search"),          # no item: no target
    Event("ann", 30, "rare", "view"),          # unknown: no target in train
    Event("ann", 40, "i2", "purchase"),
    Event("ann", 150, "i3", "view"),           # valid
    Event("ann", 160, "rare", "view"),         # valid, unknown: a target that counts as missed
    Event("ben", 10, "i1"), Event("ben", 24, "i2", "purchase"),
    Event("cid", 10, "i1"), Event("cid", 48, "i2", "purchase"),
    Event("dan", 10, "i1", late_hours=20), Event("dan", 12, "i2"),
    Event("eve", 10, "i1"), Event("eve", 140, "i2", late_hours=10), Event("eve", 150, "i3"),
    *[Event("bot", hour, f"i{hour % 3}") for hour in range(10, 14)],
    *[Event(user, 1 + i * 0.5, f"i{i % 8}", price=float(i)) for i in range(50) for user in ("long", "longer")],
    *[Event("longer", 30 + i, f"i{i % 3}", "purchase", price=3.0) for i in range(7)],
    Event("fay", 12, "i1"), Event("fay", 13, "i2", "cart"), Event("fay", 14, "i2", "purchase"), Event("fay", 15, "i3"),
    Event("fay", 25, "i1"), Event("fay", 26, "i2"),
    Event("fay", 143, "i4"), Event("fay", 143.5, "i5"), Event("fay", 144, "i6", "purchase"),
]
SESSION_HOURS = 10
HAND_MADE_POINTS = [("fay", 24, 4.0), ("fay", 48, 4.0), ("fay", 120, 4.0),
                    ("ann", 24, 6.0), ("ann", 144, 4.0), ("ben", 24, 4.0), ("cid", 24, 4.0), ("dan", 24, 4.0),
                    ("dan", 48, 4.0), ("eve", 24, 4.0), ("bot", 24, 4.0)]

Rows = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def built(spark: SparkSession) -> Rows:
    """Examples of all users above by user; users do not touch each other, so one Spark job serves all tests."""
    shops = [(HAND_MADE, HAND_MADE_POINTS), random_shop(4), short_histories()]
    sessions = sessions_of(spark, [event for events, _ in shops for event in events], ["bot"], SESSION_HOURS)
    points = points_in(features_at(spark, [p for _, points in shops for p in points]), sessions,
                       labels_at(sessions, TIMES, SPLIT.horizons_us), SPLIT)
    frame = build_examples(
        events_of(sessions), points, vocabulary(spark), split=SPLIT, statistics=STATISTICS, feature_names=FEATURE,
        max_length=8, num_known=NUM_KNOWN,
    )
    assert EXAMPLES.differences(frame) == []
    rows: Rows = defaultdict(list)
    for row in frame.collect():
        told = row.asDict()
        for number, name in enumerate(LABEL_NAMES):
            told[name] = [int(label) for label in told["labels"][number :: len(LABEL_NAMES)]]
        rows[row["user_id"]].append(told)
    return rows


def only(rows: list[dict[str, Any]], split: str) -> dict[str, Any]:
    (row,) = [row for row in rows if row["split"] == split]
    return row


def test_all_examples_of_a_visitor_share_a_number_that_no_other_has(built: Rows) -> None:
    numbers = {user: {row["visitor"] for row in rows} for user, rows in built.items()}
    assert {len(found) for found in numbers.values()} == {1}
    assert len(set.union(*numbers.values())) == len(built)
    assert max(len(rows) for rows in built.values()) > 1


def test_a_small_history_worked_out_by_hand(built: Rows) -> None:
    train = only(built["ann"], "train")
    assert train["item"] == [4, 4, 1, 2, 5]
    assert train["type"] == [3, 4, 1, 3, 7]
    assert train["target"] == [0, 0, 0, 5, 0]
    assert train["gap"] == pytest.approx([0, log1p(1800), log1p(9.5 * 3600), log1p(36000), log1p(36000)])
    assert train["price"] == pytest.approx([-0.5, 0, 0, 0, 0])
    assert (train["point"], train["purchase"], train["features"]) == ([2], [1], [1.0])  # she buys at 40 < 24 + 24
    assert train["idle"] == pytest.approx([log1p(4 * 3600)])

    valid = only(built["ann"], "valid")
    assert valid["item"] == [4, 4, 1, 2, 5, 6, 2]
    assert valid["target"] == [0, 0, 0, 0, 6, 2, 0]
    assert (valid["point"], valid["purchase"], valid["features"]) == ([4], [0], [0.0])
    assert valid["idle"] == pytest.approx([log1p(104 * 3600)])
    assert len(built["ann"]) == 2  # no target and no point in test


def test_an_event_at_the_as_of_time_comes_after_it_and_may_be_the_purchase(built: Rows) -> None:
    ben, cid = only(built["ben"], "train"), only(built["cid"], "train")
    assert (ben["point"], ben["purchase"]) == ([0], [1])
    assert (cid["point"], cid["purchase"]) == ([0], [0])  # the horizon ends just before 48


def test_a_point_is_left_out_where_an_event_before_it_arrived_after_it(built: Rows) -> None:
    row = only(built["dan"], "train")
    assert row["item"] == [4, 5]
    assert row["point"] == [1]  # of 48; at 24 the first event had not arrived
    assert row["idle"] == pytest.approx([log1p(36 * 3600)])


def test_an_event_that_arrives_after_a_splits_end_is_unknown_to_it(built: Rows) -> None:
    assert only(built["eve"], "train")["item"] == [4]
    assert only(built["eve"], "valid")["item"] == [4, 5, 6]


def test_bots_are_left_out(built: Rows) -> None:
    assert "bot" not in built
    assert "ann" in built


def test_what_follows_in_the_session_and_who_stays_away(built: Rows) -> None:
    train, valid = only(built["fay"], "train"), only(built["fay"], "valid")
    # at 12 and 13 the purchase of 14 follows; it and what comes after it are not asked; the session of 25 has none;
    # that of 143 ends in the purchase at 144, which training must not know of
    assert train["outcome"] == [3, 3, 1, 1, 2, 2, 1, 1]
    assert (train["point"], train["purchase"], train["churn"]) == ([3, 5, 5], [0, 0, 0], [0, 1, 0])
    # in valid all but the last event before the split are context
    assert valid["item"] == [5, 5, 6, 4, 5, 7, 8, 9]
    assert valid["outcome"] == [0, 0, 0, 0, 0, 0, 1, 1]


def test_an_event_stands_where_it_stands_whatever_follows(built: Rows) -> None:
    # the same 50 events, then 7 more: were stretches counted from the newest event, the place would tell of them
    def inputs(row: dict[str, Any], length: int) -> tuple[list[Any], ...]:
        return tuple(row[name][:length] for name in ("item", "type", "gap", "price"))

    assert len(built["long"]) > 5
    for row in built["long"]:
        length = len(row["item"])
        assert any(inputs(other, length) == inputs(row, length) for other in built["longer"])


def test_every_event_of_a_long_history_is_a_target_once(built: Rows) -> None:
    rows = built["long"]
    assert max(len(row["item"]) for row in rows) == 8
    without_history = 6  # of 49
    assert sum(sum(target > 0 for target in row["target"]) for row in rows) == 49 - without_history
    for row in rows:
        for item, target in zip(row["item"], row["target"], strict=True):
            assert target in (0, 3 + (item - 3 + 1) % 8)


def test_a_random_shop_gives_what_the_oracle_gives(built: Rows) -> None:
    expected = oracle(*random_shop(4), max_length=8)
    found = [row for user, rows in built.items() if user.startswith("u") for row in rows]
    assert len(found) == len(expected) > 60
    for row in found:
        match = expected[row["user_id"], row["split"], tuple(row["item"]), tuple(row["target"])]
        assert row["type"] == match["type"]
        assert row["gap"] == pytest.approx(match["gap"], abs=1e-5)
        assert row["price"] == pytest.approx(match["price"], abs=1e-6)
        assert row["outcome"] == match["outcome"]
        for name in ("point", *LABEL_NAMES):
            assert row[name] == match[name]
        assert row["idle"] == pytest.approx(match["idle"], abs=1e-5)
        assert row["features"] == pytest.approx(match["features"], abs=1e-6)
    assert sum(len(row["point"]) for row in found) > 50
    assert {outcome for row in found for outcome in row["outcome"]} == {0, 1, 2, 3}
    assert {churned for row in found for churned in row["churn"]} == {0, 1}


def test_scoring_reads_what_training_reads_up_to_the_same_point(spark: SparkSession, built: Rows) -> None:
    scored = {row["user_id"]: row for row in score(spark, *short_histories(), hour=48.0)}
    assert len(scored) == 6
    for user, row in scored.items():
        trained = only(built[user], "train")
        prefix = trained["point"][0] + 1
        for name in ("item", "type", "gap", "price"):
            assert row[name] == trained[name][:prefix]
        for name in ("point", "idle", "features"):
            assert row[name] == trained[name]


def test_scoring_keeps_everybody_and_only_what_was_known(spark: SparkSession) -> None:
    events = [
        *[Event("ann", hour, f"i{hour % 8}", "purchase" if hour == 3 else "view") for hour in range(1, 13)],
        Event("ann", 20, "i7", late_hours=10), Event("ann", 25, "i7"),   # arrived late; happened later
        Event("bot", 5, "rare"), Event("new", 30, "i1"),
    ]
    rows = {row["user_id"]: row for row in score(spark, events, [("ann", 24, 6.0)], hour=24.0, bots=("bot",))}
    assert set(rows) == {"ann", "bot"}
    ann = rows["ann"]
    assert ann["item"] == [3 + hour % 8 for hour in range(5, 13)]
    assert (ann["point"], ann["num_events"], ann["features"]) == ([7], 8, [1.0])
    assert ann["idle"] == pytest.approx([log1p(12 * 3600)])
    assert ann["seen_items"] == list(range(3, 11))
    assert ann["purchased_items"] == [6]
    assert (rows["bot"]["item"], rows["bot"]["seen_items"], rows["bot"]["features"]) == ([2], [], [-2.0])


def score(spark: SparkSession, events: list[Event], points: list[tuple[str, float, float]], hour: float,
          bots: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    manifest = Manifest("v", "", "simulated", {}, Boundaries("", "", "", 24.0), 8, 11, 9, FEATURE, STATISTICS, "", "")
    frame = scoring_examples(sessions_of(spark, events, bots), features_at(spark, points), vocabulary(spark),
                             manifest, at(hour))
    return [row.asDict() for row in frame.collect()]


def oracle(events: list[Event], points: list[tuple[str, float, float]], max_length: int) -> dict[Any, dict[str, Any]]:
    """Examples by (user, split, items, targets), one user, split, stretch and event after the other."""
    stride = max_length - max_length // 4
    users: dict[str, list[Event]] = defaultdict(list)
    for event in sorted(events, key=lambda e: (e.hour, e.id)):
        users[event.user].append(event)
    examples = {}
    for user, everything in users.items():
        for split, (start, end) in SPANS.items():
            known = [e for e in everything if e.hour < end and e.hour + e.late_hours <= end]
            owned = max(0, sum(e.hour < start for e in known) - 1)
            begin = max(0, owned - stride)
            while owned < len(known):
                stop = min(begin + max_length, len(known))
                example = _example(everything, known, range(begin, stop), range(owned, stop), split, points)
                if any(example["target"]) or example["point"]:
                    examples[user, split, tuple(example["item"]), tuple(example["target"])] = example
                begin, owned = begin + stride, stop
    return examples


def _example(everything: list[Event], known: list[Event], window: range, owned: range, split: str,
             points: list[tuple[str, float, float]]) -> dict[str, Any]:
    start, end = SPANS[split]
    example: dict[str, Any] = defaultdict(list)
    for i in window:
        event = known[i]
        example["item"].append(1 if event.item is None else ITEMS.get(event.item, 2))
        example["type"].append(1 + EVENT_TYPES.index(event.type))
        example["gap"].append(log1p((event.hour - known[i - 1].hour) * 3600) if i else 0.0)
        example["price"].append(0.0 if event.price is None else (log1p(event.price) - 1) / 2)
        example["target"].append(_target(known, i, split, start) if i in owned else 0)
        example["outcome"].append(_outcome(everything, event, split) if i in owned else 0)
    for user, hour, value in points:
        before = [i for i, event in enumerate(known) if event.hour < hour]
        if (user != known[0].user or not before or before[-1] not in owned or not start <= hour <= end - 24
                or any(known[i].hour + known[i].late_hours > hour for i in before)):
            continue
        example["point"].append(before[-1] - window[0])
        example["idle"].append(log1p((hour - known[before[-1]].hour) * 3600))
        ahead = [e for e in everything if hour <= e.hour < hour + 24]
        example["purchase"].append(int(any(e.type == "purchase" for e in ahead)))
        example["churn"].append(int(not ahead))
        example["value"].append(0)  # SESSIONS of these tests hold no quantities
        example["orders"].append(len({e.hour for e in ahead if e.type == "purchase"}))
        example["returns"].append(0)
        example["features"].append((value - 4) / 2)
    return {name: example[name] for name in ("item", "type", "gap", "price", "target", "outcome", "point", "idle",
                                             *LABEL_NAMES, "features")}


def _outcome(everything: list[Event], event: Event, split: str) -> int:
    start, end = SPANS[split]
    session = [e for e in everything if e.hour // SESSION_HOURS == event.hour // SESSION_HOURS]
    if event.hour < start or session[-1].hour >= end or session[-1].hour > 237:
        return 1
    kinds = [e.type for e in session]
    if "purchase" not in kinds:
        return 2
    return 3 if session.index(event) < kinds.index("purchase") else 1


def _target(known: list[Event], i: int, split: str, start: float) -> int:
    if i + 1 == len(known) or known[i + 1].hour < start:
        return 0
    item = known[i + 1].item
    if item is None or item == known[i].item:
        return 0
    target = ITEMS.get(item, 2)
    return target if split != "train" or 3 <= target < NUM_KNOWN else 0
