"""Journeys keep the rules that the truth promises: sessions, order, launches, churn, bots, logins, returns."""

from __future__ import annotations

from itertools import pairwise

import pytest

from purchasepath.config import Simulate
from purchasepath.synthetic.catalogue import DAY_US, catalogue_of
from purchasepath.synthetic.journey import simulate_visitor
from purchasepath.synthetic.paths import PathModel
from purchasepath.tables.catalog import EVENT_TYPES
from tests.synthetic.histories import SMALL, journeys, people, sessions

GAP_US = 30 * 60_000_000


def test_a_pause_is_longer_than_the_gap_exactly_where_the_session_number_changes() -> None:
    pairs = [pair for journey in journeys() for pair in pairwise(journey.events)]
    assert any(b.session != a.session for a, b in pairs)
    for a, b in pairs:
        assert b.session - a.session == int(b.ts_us - a.ts_us > GAP_US)
        assert b.ts_us - a.ts_us != GAP_US


def test_no_session_reaches_the_caps_of_sessionize() -> None:
    for journey in journeys():
        for session in sessions(journey):
            assert len(session) < 2500
            assert session[-1].ts_us - session[0].ts_us < 12 * 3_600_000_000


def test_events_are_numbered_in_order_of_time_within_the_days_of_the_shop() -> None:
    start = catalogue_of(SMALL).start_us
    for journey in journeys():
        assert [event.number for event in journey.events] == list(range(1, len(journey.events) + 1))
        assert journey.events[0].session == 1
        times = [event.ts_us for event in journey.events]
        assert times == sorted(times)
        assert start <= times[0]
        assert times[-1] < start + SMALL.days * DAY_US


def test_events_of_equal_time_are_lines_of_one_order() -> None:
    tied = [(a, b) for j in journeys() for a, b in pairwise(j.events) if a.ts_us == b.ts_us]
    assert tied
    assert all(a.type == b.type == "purchase" and a.order == b.order for a, b in tied)


def test_all_event_types_occur_and_no_others() -> None:
    assert {event.type for journey in journeys() for event in journey.events} == set(EVENT_TYPES)


def test_no_item_shows_up_before_its_launch() -> None:
    launches = {item.item: item.launched_us for item in catalogue_of(SMALL).items}
    seen = [event for journey in journeys() for event in journey.events if event.item]
    assert all(event.ts_us >= launches[event.item] for event in seen if event.item)
    assert any(event.item and launches[event.item] > catalogue_of(SMALL).start_us for event in seen)


def test_a_churned_visitor_has_no_event_after_the_churn() -> None:
    churned = [journey for journey in people() if journey.churned_us is not None]
    assert 0.3 < len(churned) / len(people()) < 0.8
    assert all(journey.events[-1].ts_us == journey.churned_us for journey in churned)


def test_bots_are_few_and_faster_than_100_events_in_100_seconds() -> None:
    bots = [journey for journey in journeys() if journey.visitor.is_bot]
    assert len(bots) / SMALL.users == pytest.approx(SMALL.bot_share, abs=0.012)
    for bot in bots:
        assert bot.visitor.login is None
        for session in sessions(bot):
            assert len(session) <= 300
            if len(session) > 100:
                assert any(b.ts_us - a.ts_us < 100e6 for a, b in zip(session, session[100:], strict=False))


def test_no_person_is_as_fast_as_a_bot() -> None:
    sizes = [session for journey in people() for session in sessions(journey) if len(session) > 100]
    assert all(b.ts_us - a.ts_us >= 100e6 for s in sizes for a, b in zip(s, s[99:], strict=False))


def test_the_stated_share_of_people_logs_in_at_some_event() -> None:
    logged_in = [journey for journey in people() if journey.visitor.login]
    assert len(logged_in) / len(people()) == pytest.approx(SMALL.login_share, abs=0.04)
    positions = [journey.login_from for journey in logged_in]
    assert all(p is not None and p < len(j.events) for p, j in zip(positions, logged_in, strict=True))
    assert any(position for position in positions)


def test_a_return_is_a_session_of_its_own_days_after_its_purchase() -> None:
    returned = 0
    for journey in people():
        bought = {(e.order, e.item): e.ts_us for e in journey.events if e.type == "purchase"}
        for session in sessions(journey):
            if any(event.type == "return" for event in session):
                (event,) = session
                assert event.ts_us - bought[event.order, event.item] >= 3 * DAY_US
                returned += 1
    assert returned > 0


def test_only_what_is_in_the_cart_is_removed_or_bought() -> None:
    for journey in people():
        cart: list[str] = []
        for event in journey.events:
            if event.type == "cart":
                cart.append(str(event.item))
            elif event.type == "remove":
                assert event.item in cart
                cart.remove(str(event.item))
            elif event.type == "purchase":
                assert event.item in cart


def test_a_visitor_is_a_function_of_seed_and_number_alone() -> None:
    alone = simulate_visitor(SMALL, PathModel(), 41)
    assert alone == journeys()[41]
    assert alone == simulate_visitor(SMALL.model_copy(update={"users": 50}), PathModel(), 41)
    assert alone != simulate_visitor(SMALL.model_copy(update={"seed": 4}), PathModel(), 41)


def test_the_smallest_shop_works() -> None:
    tiny = Simulate(users=1, days=1, items=10)
    assert simulate_visitor(tiny, PathModel(), 0).events


def test_volume_and_conversion_are_those_of_a_shop_worth_learning_from() -> None:
    walked = [session for journey in people() for session in sessions(journey)]
    events = sum(len(session) for session in walked)
    buying = sum(any(event.type == "purchase" for event in session) for session in walked)
    assert 2 < len(walked) / len(people()) < 4
    assert 6 < events / len(walked) < 9
    assert 0.06 < buying / len(walked) < 0.18
