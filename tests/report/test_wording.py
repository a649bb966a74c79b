"""Numbers as words."""

from __future__ import annotations

import pytest

from purchasepath.report import wording


@pytest.mark.parametrize(("written", "expected"), [
    (wording.count(18206), "18,206"),
    (wording.percent(0.0342), "3.4 %"),
    (wording.percent(0.00034), "0.03 %"),
    (wording.percent(1.0), "100 %"),
    (wording.percent(0.0), "0 %"),
    (wording.short_percent(0.342), "34%"),
    (wording.short_percent(0.0342), "3.4%"),
    (wording.amount(1_234_567.8), "1.23 million"),
    (wording.amount(1234.5), "1,234"),
    (wording.amount(1.5), "1.50"),
    (wording.duration(None), ""),
    (wording.duration(59.6), "60 s"),
    (wording.duration(150), "2.5 min"),
    (wording.duration(7200), "2.0 h"),
    (wording.duration(259_200), "3.0 d"),
    (wording.day("2024-03-05"), "5 March 2024"),
    (wording.metric(None), "–"),
    (wording.metric(0.12345), "0.1235"),
    (wording.name("markov_1"), "First-order Markov"),
    (wording.name("someone_elses"), "someone_elses"),
])
def test_words(written: str, expected: str) -> None:
    assert written.replace(wording.NBSP, " ") == expected
