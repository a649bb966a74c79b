"""Every raw row gets one verdict; the rules, the defaults and which copy stays."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from purchasepath.sources.books import Books, collision_examples, count_verdicts
from purchasepath.sources.cleaning import (
    ACCEPTED,
    COLLISION,
    DUPLICATE,
    REASONS,
    REJECTED,
    VERDICT,
    judge,
    keep_accepted,
    keep_rejected,
    summarize_ids,
)
from purchasepath.sources.mapping import Source
from purchasepath.sources.raw import RAW
from tests.sources.reading import KEY, judged, read, reasons, source_of, values, write_files

SHOP = source_of(
    format="csv",
    events={"view": "view", "buy": "purchase"},
    fields={
        "event_id": "id",
        "user_id": "user",
        "login_id": "login",
        "event_ts": "at",
        "arrived_at": "got",
        "event_type": "what",
        "item_id": "item",
        "price": "price",
        "quantity": "pieces",
        "promotion": "promo",
    },
)
HEADER = "id,user,login,at,got,what,item,price,pieces,promo\n"
GOOD = {
    "id": "e1",
    "user": "u",
    "login": "",
    "at": "2024-01-01 10:00:00",
    "got": "",
    "what": "view",
    "item": "i",
    "price": "1",
    "pieces": "",
    "promo": "",
}


def line(**changed: str) -> str:
    return ",".join((GOOD | changed).values()) + "\n"


def shop(tmp_path: Path, *lines: str) -> str:
    return write_files(tmp_path, {"a.csv": HEADER + "".join(lines)})


CASES: list[tuple[dict[str, str], list[str]]] = [
    ({}, []),
    ({"user": ""}, ["user_id is missing"]),
    ({"id": " "}, ["event_id is missing"]),
    ({"at": ""}, ["event_ts is missing"]),
    ({"at": "yesterday"}, ["event_ts is not a time"]),
    ({"at": "1999-12-31 23:59:59"}, ["event_ts is out of range"]),
    ({"at": "2000-01-01 00:00:00", "got": "2030-01-02 00:00:00"}, []),
    ({"at": "2030-01-02 00:00:01"}, ["event_ts is out of range"]),
    ({"got": "soon"}, ["arrived_at is not a time"]),
    ({"got": "2031-01-01 00:00:00"}, ["arrived_at is out of range"]),
    ({"what": "View"}, ["event_type is unknown"]),
    ({"what": " view "}, []),
    ({"what": ""}, ["event_type is missing"]),
    ({"price": "-0.01"}, ["price is out of range"]),
    ({"price": "NaN"}, ["price is out of range"]),
    ({"price": "free"}, ["price is not a number"]),
    ({"price": "", "item": ""}, []),
    ({"pieces": "0"}, ["quantity is out of range"]),
    ({"pieces": "1.5"}, ["quantity is not a whole number"]),
    ({"promo": "perhaps"}, ["promotion is not a yes or no"]),
    (
        {"user": "", "what": "look", "price": "-1"},
        ["user_id is missing", "event_type is unknown", "price is out of range"],
    ),
    ({"promo": "1,2"}, ["line has the wrong number of columns"]),
]


def test_rules_of_a_row(spark: SparkSession, tmp_path: Path) -> None:
    rows = read(spark, SHOP, shop(tmp_path, *[line(**changed) for changed, _ in CASES]))
    assert dict(values(rows, RAW, REASONS)) == {
        line(**changed)[:-1] if expected else None: expected for changed, expected in CASES}


def test_a_unit_of_time_that_is_not_the_shops_is_told_by_name(spark: SparkSession, tmp_path: Path) -> None:
    fields = {"user_id": "u", "event_ts": "t", "event_type": "e"}
    source = source_of(format="csv", time={"format": "epoch_ms"}, fields=fields)
    text = "u,t,e\nseconds,1511544070,view\nms,1511544070000,view\nus,1511544070000000,view\n"
    rows = read(spark, source, write_files(tmp_path, {"a.csv": text}))
    assert reasons(rows) == [[], ["event_ts is not a time"], ["event_ts is out of range"]]  # the year 49868, and 1970


@pytest.mark.parametrize(("price", "expected"), [
    ("p", [(None, ["price is not a number"])] * 3),
    ({"sql": "replace(replace(p, '.', ''), ',', '.')", "uses": ["p"]},
     [(1234.56, []), (9.99, []), (None, ["price is not a number"])]),
])
def test_decimal_commas_are_told_by_name_and_read_by_an_expression(
    spark: SparkSession, tmp_path: Path, price: object, expected: list[object]
) -> None:
    source = source_of(format="csv", delimiter=";", fields={
        "user_id": "u", "event_ts": "t", "event_type": "e", "price": price})
    text = "u;t;e;p\n" + "".join(f"u;2024-01-01;view;{p}\n" for p in ("1.234,56", "9,99", "free"))
    rows = read(spark, source, write_files(tmp_path, {"a.csv": text}))
    assert values(rows, "price", REASONS) == sorted(expected, key=repr)


def test_missing_values_follow_the_catalog(spark: SparkSession, tmp_path: Path) -> None:
    late = line(id="e2", got="2024-01-01 10:00:09.5", pieces="3", promo="yes")
    early = line(id="e3", got="2024-01-01 09:00:00")  # a clock's error
    zero = line(id="e4", price="-0")  # equal to 0, so it must look like it
    rows = read(spark, SHOP, shop(tmp_path, line(), late, early, zero))
    lag = "cast(arrived_at as double) - cast(event_ts as double) as lag"
    price = "string(price) as price"
    assert values(rows.selectExpr("event_id", lag, price, "quantity", "promotion", "login_id", "brand"), "*") == [
        ("e1", 0.0, "1.0", 1, False, None, None),
        ("e2", 9.5, "1.0", 3, True, None, None),
        ("e3", 0.0, "1.0", 1, False, None, None),
        ("e4", 0.0, "0.0", 1, False, None, None),
    ]


def test_of_one_event_id_the_first_arrival_stays_whatever_the_order_of_lines(
    spark: SparkSession, tmp_path: Path
) -> None:
    lines = [
        line(price="3", got="2024-01-01 11:00:00"),
        line(price="2", got="2024-01-01 10:30:00"),
        line(price="1", got="2024-01-01 10:30:00"),
        line(price="1", got="2024-01-01 10:30:00"),
        line(price="-1", got="2024-01-01 10:00:00"),
    ]
    random.Random(1).shuffle(lines)
    rows = judged(spark, SHOP, shop(tmp_path, *lines))
    assert values(rows, VERDICT, "price") == [
        (ACCEPTED, 1.0),
        (COLLISION, 2.0),
        (COLLISION, 3.0),
        (DUPLICATE, 1.0),
        (REJECTED, -1.0),
    ]


def test_rows_of_a_source_without_ids_are_known_by_their_text(spark: SparkSession, tmp_path: Path) -> None:
    fields = {"user_id": "u", "event_ts": "t", "event_type": "e"}
    parts = [{"name": n, "files": f"{n}*", "format": "csv", "fields": fields} for n in ("web", "app")]
    source = Source.model_validate({"name": "two", "inputs": parts})
    text = "u,t,e\nu,2024-01-01,view\nu,2024-01-01,view\nu,2024-01-02,view\nu,x,view\nu,x,view\n"
    rows = judged(spark, source, write_files(tmp_path, {"web.csv": text, "app.csv": text}))
    assert Counter(v for (v,) in values(rows, VERDICT)) == {ACCEPTED: 4, DUPLICATE: 2, REJECTED: 4}
    ids = [i for (i,) in values(keep_accepted(rows), "event_id")]
    assert len(set(ids)) == 4
    assert all(len(i) == 32 and int(i, 16) >= 0 for i in ids)


def test_sequence_orders_derived_ids_of_equal_times(spark: SparkSession, tmp_path: Path) -> None:
    fields = {"user_id": "u", "event_ts": "t", "event_type": "e", "item_id": "i"}
    source = source_of(format="csv", sequence="n", fields=fields)
    text = (
        "u,t,e,i,n\n"
        + "".join(f"u,2024-01-01,view,item{n},{n}\n" for n in (10, 9, 100, 1))
        + "u,2024-01-01,view,last,\n"
    )
    rows = read(spark, source, write_files(tmp_path, {"a.csv": text})).orderBy("event_ts", "tie_order", "event_id")
    assert [row["item_id"] for row in rows.collect()] == ["last", "item1", "item9", "item10", "item100"]


def test_only_for_missing_and_constant(spark: SparkSession, tmp_path: Path) -> None:
    source = source_of(
        format="csv",
        fields={
            "user_id": "u",
            "event_ts": "t",
            "event_type": "e",
            "price": {"column": "p", "missing": ["-", "n/a"]},
            "item_id": {"column": "x", "only_for": ["view"]},
            "query": {"sql": "upper(x)", "uses": ["x"], "only_for": ["search"]},
            "channel": {"constant": "app"},
        },
    )
    text = "u,t,e,p,x\nu,2024-01-01,view,-,a\nu,2024-01-01,search,n/a,b\n"
    rows = read(spark, source, write_files(tmp_path, {"a.csv": text}))
    assert values(rows, "event_type", "item_id", "query", "price", "channel", REASONS) == [
        ("search", None, "B", None, "app", []),
        ("view", "a", None, None, "app", []),
    ]


def test_rejected_rows_keep_text_file_and_all_reasons(spark: SparkSession, tmp_path: Path) -> None:
    bad = line(user="", what="look")
    rows = keep_rejected(judged(spark, SHOP, shop(tmp_path, line(), bad)), "shop")
    assert values(rows, "*") == [
        (bad.strip(), str(tmp_path / "a.csv"), ["user_id is missing", "event_type is unknown"], "shop")
    ]


def test_keys_hold_visitors_and_accounts_of_rows_not_rejected_once(spark: SparkSession, tmp_path: Path) -> None:
    lines = [line(id=str(n), user=f"u{n % 2}", login="boss" if n else "") for n in range(4)]
    copy = line(id="0", user="copy", got="2024-01-01 11:00:00")
    rows = judged(spark, SHOP, shop(tmp_path, *lines, copy, line(id="9", user="gone", price="-1")))
    keys = dict(values(summarize_ids(rows), "raw_id", "user_id"))
    assert sorted(keys) == ["boss", "copy", "u0", "u1"]
    assert values(keep_accepted(rows), "user_id", "login_id") == sorted(
        ((keys[f"u{n % 2}"], keys["boss"] if n else None) for n in range(4)), key=repr
    )


def test_ids_that_differ_in_any_sign_are_visitors_of_their_own(spark: SparkSession, tmp_path: Path) -> None:
    ids = ["007", "7", "Abc", "abc", "\u00e9", "e\u0301", "\U0001f600", "\u202e\u0627bc"]
    lines = [line(id=f"e{n}", user=user) for n, user in enumerate([*ids, "  "])]
    rows = judged(spark, SHOP, shop(tmp_path, *lines))
    keys = values(keep_accepted(rows).join(summarize_ids(rows), on="user_id", how="inner"), "raw_id", "user_id")
    assert sorted(raw_id for raw_id, _ in keys) == sorted(ids)
    assert len({user_id for _, user_id in keys}) == len(ids)
    assert reasons(rows) == [*[[]] * len(ids), ["user_id is missing"]]


def test_a_row_with_another_rows_id_and_other_contents_is_a_collision(spark: SparkSession, tmp_path: Path) -> None:
    again = line(got="2024-01-01 11:00:00")  # the same event, sent twice
    other = line(got="2024-01-01 12:00:00", user="v", item="j")
    rows = judged(spark, SHOP, shop(tmp_path, line(), again, other))
    assert values(rows, VERDICT, "raw_user_id", RAW) == [
        (ACCEPTED, "u", None), (COLLISION, "v", None), (DUPLICATE, "u", None)]
    books = count_verdicts(rows, 3).check()
    assert (books.accepted, books.duplicates, books.collisions) == (1, 2, 1)
    (example,) = collision_examples(rows)
    assert example == f"event id 'e1' ({tmp_path}/a.csv)"  # no text of a visitor


def test_a_file_of_rejected_rows_is_named_as_it_is(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "a b+%20ü.csv").write_text(HEADER + line(user=""), encoding="utf-8")
    ((file,),) = values(keep_rejected(judged(spark, SHOP, str(tmp_path)), "shop"), "file")
    assert Path(file).is_file()


WORDS = st.sampled_from(
    ["e1", "e2", "e3", "u", "view", "buy", "2024-01-01 10:00:00", "1", "-1", '"', "", "ü", "\\", "x y"]
)
LINES = st.one_of(
    st.lists(WORDS, min_size=9, max_size=11).map(",".join),
    st.builds(
        lambda **w: line(**w).strip(), id=st.sampled_from(["e1", "e2", "e3"]), user=st.sampled_from(["u", "v", ""])
    ),
    st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), max_size=12),
)


CLOSED = LINES.filter(lambda text: text.count('"') % 2 == 0)  # a quote left open may hold lines together


@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(CLOSED, max_size=30))
def test_books_balance_and_do_not_depend_on_the_order_of_lines(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory, lines: list[str]
) -> None:
    def settle(given_lines: list[str]) -> tuple[Books, list[tuple[object, ...]]]:
        directory = write_files(
            tmp_path_factory.mktemp("raw"), {"a.csv": HEADER + "".join(f"{x}\n" for x in given_lines)}
        )
        rows = judge(read(spark, SHOP, directory), KEY)
        return count_verdicts(rows, num_rows), values(keep_accepted(rows), "event_id", "user_id", "price")

    shown = [x.lstrip("\ufeff") for x in lines]
    num_rows = sum(1 for x in shown if x.strip(" ") and x != HEADER.strip())
    books, events = settle(lines)
    assert books.check().read == num_rows
    assert len({event_id for event_id, *_ in events}) == books.accepted
    assert settle(lines[::-1]) == (books, events)


@settings(max_examples=2, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(LINES, max_size=30))
def test_books_balance_where_quotes_hold_lines_together(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory, lines: list[str]
) -> None:
    text = "".join(f"{x}\n" for x in [*lines, line(item='"open').strip(), line(id="e9", item='here"').strip()])
    rows = read(spark, SHOP, write_files(tmp_path_factory.mktemp("raw"), {"a.csv": HEADER + text}))
    books = count_verdicts(judge(rows, KEY), rows.count()).check()
    assert 0 < books.read <= len(lines) + 2
