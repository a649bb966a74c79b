"""Mapping files: what they may say, and one error that lists all that is wrong with one."""

from __future__ import annotations

from pathlib import Path

import pytest

from purchasepath.errors import ConfigError
from purchasepath.sources.mapping import Source, load_source
from tests.conftest import ROOT

GOOD = "inputs:\n  - format: csv\n    fields: {user_id: u, event_ts: t, event_type: e}\n"


def load(directory: Path, text: str) -> object:
    (directory / "shop.yaml").write_text(text)
    return load_source("shop", [directory])


def test_bare_name_is_a_column_and_defaults_are_plain_csv(tmp_path: Path) -> None:
    source = load_source("shop", [tmp_path]) if (tmp_path / "shop.yaml").write_text(GOOD) else None
    assert source is not None
    assert source.name == "shop"
    assert source.inputs[0].source_columns == ("u", "t", "e")
    assert (source.inputs[0].delimiter, source.inputs[0].header, source.inputs[0].time.zone) == (",", True, "UTC")
    assert source.inputs[0].words["purchase"] == "purchase"


@pytest.mark.parametrize("file", sorted((ROOT / "conf" / "sources").glob("*.yaml")), ids=lambda f: f.stem)
def test_shipped_mapping_is_valid_by_name_and_by_path(file: Path) -> None:
    assert load_source(file.stem) == load_source(str(file))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("format: csv", "format: csv\n    delimeter: ';'"),
            r"unknown key `inputs.0.delimeter` \(did you mean `delimiter`\?\)",
        ),
        (("format: csv", "format: xml"), "inputs.0.format"),
        (("event_type: e}", "event_type: e, itm_id: i}"), r"unknown field `itm_id` \(did you mean `item_id`\?\)"),
        (("fields", "events: {see: veiw}\n    fields"), r"unknown event type `veiw` \(did you mean `view`\?\)"),
        (("event_ts: t, ", ""), "fields event_ts are required"),
        (
            ("event_ts: t", "event_ts: {colum: t}"),
            r"unknown key `inputs.0.fields.event_ts.colum` \(did you mean `column`\?\)",
        ),
        (("event_ts: t", "event_ts: {column: t, constant: x}"), "exactly one of column, constant, sql"),
        (("event_ts: t", "event_ts: {sql: a || b}"), "`uses`"),
        (("format: csv", "format: csv\n    time: {zone: Berlin}"), "not a time zone"),
        (("format: csv", "format: csv\n    header: false"), "names its `columns`"),
        (("format: csv", "format: csv\n    header: false\n    columns: [u, t]"), "unknown column `e`"),
    ],
)
def test_fault_is_named_with_what_was_meant(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, GOOD.replace(*change))


def test_words_and_ids_are_as_written(tmp_path: Path) -> None:
    price = "event_type: e, price: {column: 007, missing: [0.00, no, 1_000]}}"
    events = "    events: {010: view, on: cart, 12:30: purchase, 2024-01-01: search}\n    fields"
    source = load(tmp_path, GOOD.replace("event_type: e}", price).replace("    fields", events))
    assert isinstance(source, Source)
    read = source.inputs[0]
    assert (read.fields["price"].column, read.fields["price"].missing) == ("007", ("0.00", "no", "1_000"))
    assert read.events == {"010": "view", "on": "cart", "12:30": "purchase", "2024-01-01": "search"}


@pytest.mark.parametrize("text", [GOOD + GOOD, GOOD.replace("fields", "events: {buy: view, buy: cart}\n    fields"),
                                  GOOD.replace("user_id: u", "user_id: u, user_id: v")])
def test_a_key_given_twice_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"shop\.yaml: `(inputs|buy|user_id)` is given twice \(lines \d and \d\)"):
        load(tmp_path, text)


@pytest.mark.parametrize(("limits", "message"), [
    ("earliest: 2015", "expected a day or a time"), ("latest: 1420070400", "expected a day or a time"),
    ("earliest: 2015-02-30", "earliest"), ("price: [5, 1]", "lowest value first"), ("price: [0, inf]", "finite"),
    ("quantity: [1, nan]", "quantity"), ("quantity: [1, 1000000000000000000000000]", "expected numbers up to"),
    ("earliest: 0001-01-01T00:00:00+14:00", "years 1 to 9999"), ("latest: 9999-12-31T23:00:00-02:00", "years 1 to"),
])
def test_limits_that_cannot_be_meant_are_refused(tmp_path: Path, limits: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, f"{GOOD}limits: {{{limits}}}\n")


def test_a_limit_may_be_a_day_or_a_time(tmp_path: Path) -> None:
    source = load(tmp_path, GOOD + "limits: {earliest: 2015-01-31, latest: 2016-01-01T10:00:00Z}\n")
    assert isinstance(source, Source)
    assert source.limits.latest is not None
    assert (source.limits.earliest.isoformat(), source.limits.latest.isoformat()) == (
        "2015-01-31T00:00:00+00:00", "2016-01-01T10:00:00+00:00")


def test_all_faults_of_a_mapping_are_reported_together(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, GOOD.replace("csv", "xml") + "limit: {}\n")
    assert len(caught.value.faults) == 2
    assert "did you mean `limits`" in str(caught.value)


def test_unknown_source_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no mapping `retailroket` .*did you mean `retailrocket`"):
        load_source("retailroket")


@pytest.mark.parametrize(
    ("text", "message"), [("inputs: [", "cannot be read"), ("- a\n", "holds a list"), ("", "NoneType")]
)
def test_file_that_is_no_mapping(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, text)


def test_mapping_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_source(str(tmp_path / "mine.yaml"))
