"""What is observed agrees with the declared matrix and effects, and the next item can be learned."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from purchasepath.synthetic.catalogue import catalogue_of
from purchasepath.synthetic.journey import Journey
from purchasepath.synthetic.paths import BASE_MATRIX, EFFECTS
from purchasepath.synthetic.walk import CART_LASTS_US, RECENT_PURCHASE_US, Event
from tests.synthetic.histories import SMALL, people, sessions, steps

LARGER = SMALL.model_copy(update={"users": 3000})


def test_without_effects_the_observed_frequencies_are_the_matrix() -> None:
    seen: dict[str, Counter[str]] = defaultdict(Counter)
    for journey in people(SMALL, ()):
        for state, following, _ in steps(journey):
            seen[state][following] += 1
    assert set(seen) == set(BASE_MATRIX) - {"session_end"}
    for state, counts in seen.items():
        total = counts.total()
        assert set(counts) <= set(BASE_MATRIX[state])
        for following, expected in BASE_MATRIX[state].items():
            spread = (expected * (1 - expected) / total) ** 0.5
            assert counts[following] / total == pytest.approx(expected, abs=4.5 * spread), (state, following)


def test_without_effects_the_churn_after_a_session_is_as_declared() -> None:
    journeys = people(SMALL, ())
    drawn = sum(session[0].type != "return" for journey in journeys for session in sessions(journey))
    churned = sum(journey.churned_us is not None for journey in journeys)
    expected = BASE_MATRIX["session_end"]["churn"]
    assert churned / drawn == pytest.approx(expected, abs=4.5 * (expected * (1 - expected) / drawn) ** 0.5)


@pytest.mark.parametrize("to_state", ["cart", "leave"])
def test_a_logistic_regression_recovers_the_effects_on_what_follows_a_view(to_state: str) -> None:
    declared = {e.factor: e.log_odds for e in EFFECTS if (e.from_state, e.to_state) == ("view", to_state)}
    _check_recovery(declared, *_view_decisions(tuple(declared), to_state))


def test_a_logistic_regression_recovers_the_effects_on_churn() -> None:
    declared = {e.factor: e.log_odds for e in EFFECTS if e.from_state == "session_end"}
    _check_recovery(declared, *_churn_decisions(tuple(declared)))


def _check_recovery(declared: dict[str, float], x: np.ndarray, y: np.ndarray) -> None:
    """The regression's coefficients are the declared log-odds within 4 standard errors, and far from 0."""
    fit = LogisticRegression(penalty=None, max_iter=1000).fit(x, y)
    p = fit.predict_proba(x)[:, 1]
    with_one = np.column_stack([x, np.ones(len(x))])
    spread = np.sqrt(np.diag(np.linalg.inv(with_one.T * (p * (1 - p)) @ with_one)))
    for factor, found, error in zip(declared, fit.coef_[0], spread[:-1], strict=True):
        assert found == pytest.approx(declared[factor], abs=4 * error), factor
        assert np.sign(found) == np.sign(declared[factor]), factor
        assert abs(declared[factor]) > 2 * error, f"{factor}: too few rows to tell"


def _view_decisions(factors: tuple[str, ...], to_state: str) -> tuple[np.ndarray, np.ndarray]:
    """Factors of every view, and whether `to_state` followed rather than one of the states that no effect shifts."""
    scores = {item.item: item.price_score for item in catalogue_of(LARGER).items}
    rows, outcomes = [], []
    for journey in people(LARGER):
        started = {session[0].session: session[0].ts_us for session in sessions(journey)}
        bought = [event.ts_us for event in journey.events if event.type == "purchase"]
        for state, following, event in steps(journey, LARGER):
            if state != "view" or event is None or following not in (to_state, "search", "category", "view"):
                continue
            start = started[event.session]
            known = {
                "price": scores[str(event.item)], "promotion": float(bool(event.promo)),
                "channel_email": float(event.channel == "email"), "channel_ad": float(event.channel == "ad"),
                "propensity": journey.visitor.propensity,
                "focused": float(event.focused),
                "recent_purchase": float(any(0 < start - at < RECENT_PURCHASE_US for at in bought)),
            }
            rows.append([known[factor] for factor in factors])
            outcomes.append(following == to_state)
    return np.array(rows), np.array(outcomes)


def _churn_decisions(factors: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Factors of every session's end, and whether the visitor stayed away for good after it."""
    rows, outcomes = [], []
    for journey in people(LARGER):
        cart = 0
        for session in sessions(journey):
            if session[0].type == "return":
                continue
            kinds = [event.type for event in session]
            cart = kinds.count("cart") - kinds.count("remove") + (0 if _cart_expired(journey, session) else cart)
            if "purchase" in kinds:
                last = len(kinds) - kinds[::-1].index("purchase")
                cart = kinds[last:].count("cart") - kinds[last:].count("remove")
            known = {
                "purchased": float("purchase" in kinds), "cart_left": float(cart > 0),
                "channel_ad": float(session[0].channel == "ad"), "focused": float(session[0].focused),
                "bounced": float(len(session) <= 2),
            }
            rows.append([known[factor] for factor in factors])
            outcomes.append(session[-1].ts_us == journey.churned_us)
    return np.array(rows), np.array(outcomes)


def _cart_expired(journey: Journey, session: list[Event]) -> bool:
    touched = [e.ts_us for e in journey.events if e.type in ("cart", "checkout") and e.ts_us < session[0].ts_us]
    return not touched or session[0].ts_us - touched[-1] > CART_LASTS_US


def test_a_cart_left_behind_makes_a_purchase_in_the_next_session_likely() -> None:
    outcomes: dict[bool, list[bool]] = {True: [], False: []}
    for journey in people():
        for session, following in pairwise(sessions(journey)):
            kinds = [event.type for event in session]
            if "purchase" not in kinds and "return" not in kinds:
                outcomes["cart" in kinds].append(any(event.type == "purchase" for event in following))
    assert np.mean(outcomes[True]) > 2 * np.mean(outcomes[False])


@pytest.mark.parametrize(("predictable", "lowest", "highest"), [(0.0, 0.0, 0.02), (0.85, 0.2, 0.4), (1.0, 0.35, 0.6)])
def test_the_last_two_items_tell_the_next_as_often_as_the_shop_is_predictable(
    predictable: float, lowest: float, highest: float
) -> None:
    simulate = SMALL.model_copy(update={"predictable": predictable, "users": 500})
    items = {item.item: item for item in catalogue_of(simulate).items}
    hits = []
    for journey in people(simulate):
        viewed = [items[str(event.item)] for event in journey.events if event.type == "view"]
        for before, last, following in zip(viewed, viewed[1:], viewed[2:], strict=False):
            hits.append(catalogue_of(simulate).compared_next(before, last) is following)
    assert lowest <= np.mean(hits) <= highest


def test_the_last_item_alone_tells_much_less_than_the_last_two() -> None:
    items = {item.item: item for item in catalogue_of(LARGER).items}
    views = [[str(e.item) for e in j.events if e.type == "view"] for j in people(LARGER)]
    followers: dict[str, Counter[str]] = defaultdict(Counter)
    for viewed in views:
        for last, following in pairwise(viewed):
            followers[last][following] += 1
    best = {last: counts.most_common(1)[0][0] for last, counts in followers.items()}
    of_one, of_two = [], []
    for viewed in views:
        for before, last, following in zip(viewed, viewed[1:], viewed[2:], strict=False):
            of_one.append(best[last] == following)  # fitted on the very data it is measured on, and still far behind
            compared = catalogue_of(LARGER).compared_next(items[before], items[last])
            of_two.append(compared is not None and compared.item == following)
    assert np.mean(of_two) > 2 * np.mean(of_one)
