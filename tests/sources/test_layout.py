"""Headers and first lines against the mapping: one error that says what was expected and found."""

from __future__ import annotations

import pytest

from purchasepath.errors import InputError
from purchasepath.sources.layout import check_header, check_json_heads, check_plain_heads, split_line
from purchasepath.sources.mapping import load_source
from tests.sources.reading import source_of

SPEC = source_of(format="csv", fields={"user_id": "u", "event_ts": "t", "event_type": "e"}).inputs[0]
LOG = load_source("behaviour_log").inputs[0]
JSON = load_source("simulated").inputs[0]


def test_columns_may_stand_in_any_order_among_others() -> None:
    assert check_header(SPEC, "f", "x, e,t,u") == ("x", "e", "t", "u")


def test_wrong_delimiter_is_recognised() -> None:
    with pytest.raises(
        InputError, match=r"(?s)f: columns u, t, e are missing.*found: u;t;e.*with delimiter ';' it fits"
    ):
        check_header(SPEC, "f", "u;t;e")


def test_missing_column_names_file_expected_and_found() -> None:
    with pytest.raises(InputError, match=r"(?s)f: columns t are missing.*expected: u, t, e\n  found: u, e, time"):
        check_header(SPEC, "f", "u,e,time")


def test_column_that_stands_twice_is_refused_only_if_it_is_read() -> None:
    assert check_header(SPEC, "f", "u,t,e,x,x") == ("u", "t", "e", "x", "x")
    with pytest.raises(InputError, match="columns t stand twice"):
        check_header(SPEC, "f", "u,t,e,t")


def test_quoted_header_and_long_delimiter() -> None:
    assert split_line(SPEC, '"a,b","say ""x"""') == ["a,b", 'say "x"']
    long = SPEC.model_copy(update={"delimiter": "||"})
    assert split_line(long, "a||b||") == ["a", "b", ""]
    assert split_line(long, '"a||b"||"say ""x"""|| c') == ["a||b", 'say "x"', "c"]


def test_headerless_file_with_the_wrong_delimiter() -> None:
    check_plain_heads(LOG, {"f": ["broken line", "u\t2023-01-01 10:00:00\tbrowse-product\t1"]})
    with pytest.raises(InputError, match=r"expected 4 columns \(user, time, event, subject\).*found 1 .*','"):
        check_plain_heads(LOG, {"f": ["u,2023-01-01 10:00:00,browse-product,1"]})


def test_lines_that_are_not_json() -> None:
    with pytest.raises(InputError, match="one JSON object per line, found: u,t,e"):
        check_json_heads(JSON, {"f": ["u,t,e", "[1]"]})


def test_json_without_a_required_key() -> None:
    check_json_heads(JSON, {"f": ["broken", '{"visitor": 1, "ts": 2, "type": 3}']})  # optional keys may be absent
    with pytest.raises(InputError, match=r"keys visitor are missing"):
        check_json_heads(JSON, {"f": ['{"user": 1, "ts": 2, "type": 3}']})
