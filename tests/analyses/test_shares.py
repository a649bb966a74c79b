"""Shares: Newcombe's interval as published, and how seldom chance is called a difference."""

from __future__ import annotations

from math import hypot

import numpy as np
import pytest

from purchasepath.analyses.shares import surely_apart, wilson


def test_the_interval_of_a_difference_of_shares_is_newcombe_s() -> None:
    # Newcombe (1998), table II, example (a): 56/70 and 48/80 differ by .2, between .0524 and .3339
    low, high = wilson(56, 70, 1.96), wilson(48, 80, 1.96)
    assert 0.2 - hypot(0.8 - low[0], high[1] - 0.6) == pytest.approx(0.0524, abs=5e-5)
    assert 0.2 + hypot(low[1] - 0.8, 0.6 - high[0]) == pytest.approx(0.3339, abs=5e-5)


def test_of_ten_equal_channels_seldom_one_is_called_better() -> None:
    draws = np.random.default_rng(1).binomial(300, 0.1, (400, 10))
    called = sum(surely_apart((hits.max(), 300), (hits.min(), 300), 10) for hits in draws)
    assert called / 400 < 0.08
