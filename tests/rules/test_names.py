"""Every worker of a test run finds the same tests, whenever it looks for them."""

from __future__ import annotations

import gzip

import pytest


@pytest.mark.parametrize("content", [gzip.compress(b"holds the second it was packed in")])
def test_content_is_no_part_of_a_name(request: pytest.FixtureRequest, content: bytes) -> None:
    assert content
    assert request.node.name == "test_content_is_no_part_of_a_name[content]"
