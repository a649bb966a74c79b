"""What a mapping has Spark interpret is tried when the mapping is read."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from purchasepath.errors import ConfigError, InputError
from purchasepath.sources.expressions import check_expressions, explained_values, expression_fault
from purchasepath.sources.mapping import load_source
from tests.conftest import ROOT
from tests.sources.reading import read, source_of, values, write_files


@pytest.mark.parametrize("sql", [
    "coalesce(a, b)", "cast(a as double) / 2", "upper(a) || b",
    "case when a like '%x%' and b rlike '^[0-9]+$' then b end",
    "try_element_at(split(a, '[|]'), cast(nullif(array_position(split(b, ','), a), 0) as int))", "a in ('x', 'y')",
    "if(a between '1' and '2', trim(both 'x' from a), substring(b from 2 for 3))", "split(a, ',')[0]",
    "-try_cast(a as int)",
    "element_at(filter(from_json(a, 'array<struct<key:string,value:struct<v:string>>>'), p -> p.key = 'x'), 1).value.v",
    "transform(split(a, ','), (x, i) -> x)[0]", "a is not null", "position('x', a)", "not (a = b or a <=> b)",
])
def test_expressions_of_one_row_are_allowed(spark: SparkSession, sql: str) -> None:
    assert expression_fault(spark, sql, ("a", "b")) is None


@pytest.mark.parametrize(("sql", "message"), [
    ("cast(a as", "PARSE_SYNTAX_ERROR"), ("foo(a)", "function `foo` is not allowed"),
    ("uper(a)", "did you mean `upper`"),
    ("c", "column `c` is not in `uses`"), ("max(a)", "`max` is not allowed"),
    ("reflect('java.lang.System', 'exit', a)", "reflect"),
    ("java_method('java.lang.System', 'getenv', a)", "`java_method`"), ("input_file_name()", "`input_file_name`"),
    ("rand()", "`rand`"), ("current_timestamp()", "not allowed"), ("current_date", "not in `uses`"),
    ("transform(split(a, ','), x -> current_user)[0]", "not allowed"), ("A", "not in `uses`"),
    ("explode(split(a, ','))", "`explode`"), ("row_number() over (order by a)", "not allowed"),
    ("(select max(a) from events)", "not allowed"), ("exists (select 1)", "not allowed"), ("*", "not allowed"),
    ("a in (select b from events)", "not allowed"), ("upper(distinct a)", "DISTINCT"),
    ("builtin.reflect('x', 'y')", "not allowed"), ("raise_error(a)", "not allowed"),
    ("uuid()", "not allowed"), ("session_user()", "not allowed"), ("try_reflect('a', 'b')", "not allowed"),
])
def test_mistakes_and_what_reaches_beyond_the_row_are_told(spark: SparkSession, sql: str, message: str) -> None:
    fault = expression_fault(spark, sql, ("a", "b"))
    assert fault is not None
    assert re.search(message, fault), fault
    assert "\n" not in fault


def test_expressions_take_values_out_of_nested_records(spark: SparkSession, tmp_path: Path) -> None:
    """As an analytics export has them: parameters in a list of keys and values, items in an array, keys left out."""
    session = "element_at(filter(from_json(params, 'array<struct<key:string,value:struct<int_value:string>>>')," \
              " p -> p.key = 'session'), 1).value.int_value"
    source = source_of(
        format="json", time={"format": "epoch_us"}, events={"page": "category", "view_item": "view", "buy": "purchase"},
        fields={
            "user_id": "visitor", "event_ts": "us", "event_type": "name",
            "item_id": {"sql": "get_json_object(items, '$[0].id')", "uses": ["items"]},
            "price": {"sql": "get_json_object(items, '$[0].price')", "uses": ["items"]},
            "order_id": {"sql": "get_json_object(shop, '$.order')", "uses": ["shop"]},
            "source_session": {"sql": session, "uses": ["params"]},
        })
    check_expressions(spark, source)
    params = [{"key": "other", "value": {"int_value": "1"}}, {"key": "session", "value": {"int_value": "661084800"}}]
    items = [{"id": "9180801", "price": 12.5}, {"id": "9180802", "price": 7}]
    event = {"visitor": "1026454.4271112504", "us": "1612069510766593", "params": params}
    lines = [{**event, "name": "page", "items": [], "shop": {"order": None}},
             {**event, "name": "view_item", "items": items[:1], "params": params[1:]},
             {**event, "name": "buy", "items": items, "shop": {"order": "T1"}}]
    text = "".join(json.dumps(record) + "\n" for record in lines)
    rows = read(spark, source, write_files(tmp_path, {"a.jsonl": text}))
    found = values(rows.selectExpr("event_type", "item_id", "price", "order_id", "source_session", "user_id",
                                   "unix_micros(event_ts)"), "*")
    rest = ("661084800", "1026454.4271112504", 1_612_069_510_766_593)
    assert found == [("category", None, None, None, *rest), ("purchase", "9180801", 12.5, "T1", *rest),
                     ("view", "9180801", 12.5, None, *rest)]


@pytest.mark.parametrize("pattern", ["YYYY-MM-dd HH:mm:ss", "yyyy-MM-ddTHH:mm:ss", "%Y-%m-%d %H:%M:%S"])
def test_all_faults_of_a_mapping_are_told_with_input_field_and_text(spark: SparkSession, pattern: str) -> None:
    source = source_of(format="csv", time={"format": pattern},
                       fields={"user_id": {"sql": "usr", "uses": ["user"]}, "event_ts": "t", "event_type": "e"})
    with pytest.raises(ConfigError) as caught:
        check_expressions(spark, source)
    assert len(caught.value.faults) == 2
    assert "events: time.format" in str(caught.value)
    assert pattern in str(caught.value)
    assert "fields.user_id: sql `usr`" in str(caught.value)


@pytest.mark.parametrize("file", sorted((ROOT / "conf" / "sources").glob("*.yaml")), ids=lambda f: f.stem)
def test_shipped_mappings_hold(spark: SparkSession, file: object) -> None:
    check_expressions(spark, load_source(str(file)))


@pytest.mark.parametrize("sql", ["abs(cast(a as int))", "1 / (length(a) - 3)", "split(a, ',')[7]"])
def test_an_expression_that_fails_on_a_row_is_named(spark: SparkSession, sql: str) -> None:
    source = source_of(format="csv", fields={"user_id": "u", "event_ts": "t", "event_type": "e", "item_id": "i",
                                             "quantity": {"sql": sql, "uses": ["a"]}})
    frame = spark.createDataFrame([("two",)], "a string").selectExpr(sql)
    with pytest.raises(InputError, match=r"quantity: .*\n.*try_cast") as caught, explained_values(source):
        frame.collect()
    assert sql in str(caught.value)
