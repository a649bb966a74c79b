"""A visitor's whole history: when they come, by which channel, what they return, when they stay away for good."""

from __future__ import annotations

import random
from dataclasses import dataclass

from purchasepath.config import Simulate
from purchasepath.synthetic.attention import Attention
from purchasepath.synthetic.catalogue import DAY_US, Catalogue, catalogue_of
from purchasepath.synthetic.paths import PathModel
from purchasepath.synthetic.visitors import (
    CHANNEL_SHARES,
    CHANNELS,
    DEVICE_SHARES,
    DEVICES,
    Visitor,
    draw_visitor,
    visitor_generator,
)
from purchasepath.synthetic.walk import Event, Memory, SessionWalk, Visit

HOUR_US = 3_600_000_000
SHORTEST_ABSENCE_US = 45 * 60_000_000
"""Well above the 30 minutes that end a session."""
HOUR_WEIGHTS = (2, 1, 1, 1, 1, 2, 4, 7, 9, 10, 10, 10, 11, 10, 9, 9, 10, 12, 14, 17, 19, 18, 12, 6)
CART_PAUSE_FACTOR, FOCUS_PAUSE_FACTOR = 0.30, 0.50
"""A cart left behind, or else a comparison under way, brings the visitor back this much sooner."""
KEEPS_CHANNEL, KEEPS_DEVICE = 0.6, 0.85
RETURN_SHARE = 0.06
RETURN_DAYS = (3.0, 12.0)
BOT_EVENTS = (150, 220)
BOT_PAUSE_US = (50_000, 800_000)
BOT_COMES_AGAIN = 0.3


@dataclass(frozen=True)
class Journey:
    """A visitor with all events in order; `churned_us` is the end of the last session of one who stays away for good.

    `login_from` is the position of the first event with the account's id; None for visitors without one.
    """

    visitor: Visitor
    events: list[Event]
    churned_us: int | None
    login_from: int | None


def simulate_visitor(simulate: Simulate, paths: PathModel, number: int) -> Journey:
    """The journey of visitor `number`: a function of (simulate, paths, number) alone."""
    catalogue = catalogue_of(simulate)
    rng = visitor_generator(simulate.seed, number)
    visitor = draw_visitor(simulate, catalogue, number, rng)
    end_us = catalogue.start_us + simulate.days * DAY_US
    if visitor.is_bot:
        return Journey(visitor, _crawl(catalogue, visitor, end_us, rng), None, None)
    events, churned_us = _HumanJourney(simulate, catalogue, paths, visitor, rng).run(end_us)
    login_from = int(rng.random() * len(events)) if visitor.login else None
    return Journey(visitor, events, churned_us, login_from)


class _HumanJourney:
    def __init__(
        self, simulate: Simulate, catalogue: Catalogue, paths: PathModel, visitor: Visitor, rng: random.Random
    ) -> None:
        self._visitor, self._paths, self._rng = visitor, paths, rng
        self._memory = Memory(Attention(catalogue, visitor, simulate.predictable, rng))
        self._session = SessionWalk(catalogue, paths, visitor, self._memory, rng)
        self._sessions = 0
        self._return: Event | None = None

    def run(self, end_us: int) -> tuple[list[Event], int | None]:
        """All events before `end_us`, and the time of churn."""
        memory, rng = self._memory, self._rng
        start_us, bought = _time_of_day(self._visitor.first_visit_us, rng), False
        while True:
            self._bring_back(min(start_us - SHORTEST_ABSENCE_US, end_us))
            if start_us >= end_us:
                return memory.events, None
            visit = self._next_visit(start_us)
            memory.attention.begin_session(rng.random(), bought=bought)
            orders = memory.orders
            ending = self._session.walk(visit, start_us, end_us)
            last_us = memory.events[-1].ts_us
            bought = memory.orders > orders
            if bought:
                self._plan_return()
            if self._paths.next_state("session_end", ending, rng.random()) == "churn":
                return memory.events, last_us
            start_us = self._next_start(last_us, bought=bought)

    def _next_visit(self, start_us: int) -> Visit:
        rng, visitor = self._rng, self._visitor
        self._sessions += 1
        channel = visitor.channel if rng.random() < KEEPS_CHANNEL else rng.choices(CHANNELS, CHANNEL_SHARES)[0]
        device = visitor.device if rng.random() < KEEPS_DEVICE else rng.choices(DEVICES, DEVICE_SHARES)[0]
        campaign = f"{channel}-{start_us // (14 * DAY_US) % 26:02d}" if channel in ("email", "ad") else None
        return Visit(self._sessions, channel, campaign, device)

    def _next_start(self, last_us: int, *, bought: bool) -> int:
        compares = self._memory.attention.focused and not bought
        factor = CART_PAUSE_FACTOR if self._memory.cart else FOCUS_PAUSE_FACTOR if compares else 1.0
        absence = self._rng.expovariate(1 / (self._visitor.pause_days * factor)) * DAY_US
        start_us = _time_of_day(last_us + int(absence), self._rng)
        while start_us < last_us + SHORTEST_ABSENCE_US:
            start_us += DAY_US
        return start_us

    def _plan_return(self) -> None:
        rng, memory = self._rng, self._memory
        if self._return is not None or rng.random() >= RETURN_SHARE:
            return
        order_lines = [e for e in memory.events if e.type == "purchase" and e.ts_us == memory.bought_us]
        days = rng.uniform(*RETURN_DAYS)
        self._return = rng.choice(order_lines)._replace(ts_us=order_lines[0].ts_us + int(days * DAY_US), type="return")

    def _bring_back(self, before_us: int) -> None:
        """The planned return, as a session of its own, if its time has come."""
        if self._return is None:
            return
        at_us = max(self._return.ts_us, self._memory.events[-1].ts_us + SHORTEST_ABSENCE_US)
        if at_us < before_us:
            self._sessions += 1
            events = self._memory.events
            events.append(self._return._replace(number=len(events) + 1, session=self._sessions, ts_us=at_us))
            self._return = None


def _time_of_day(at_us: int, rng: random.Random) -> int:
    """A time on the same day as `at_us`, at the hours when people shop."""
    hour = rng.choices(range(24), HOUR_WEIGHTS)[0]
    return at_us // DAY_US * DAY_US + hour * HOUR_US + int(rng.random() * HOUR_US)


def _crawl(catalogue: Catalogue, visitor: Visitor, end_us: int, rng: random.Random) -> list[Event]:
    """A bot's events: views at a rate no person has, all over the shop."""
    events: list[Event] = []
    at_us = visitor.first_visit_us
    for session in range(1, 2 + (rng.random() < BOT_COMES_AGAIN)):
        for _ in range(rng.randint(*BOT_EVENTS)):
            item = catalogue.items[int(rng.random() * len(catalogue.items))]
            if item.launched_us > at_us:
                continue
            if at_us >= end_us:
                return events
            events.append(Event(
                number=len(events) + 1, session=session, ts_us=at_us, type="view", item=item.item,
                category=catalogue.categories[item.category], brand=item.brand_name,
                price=catalogue.price_at(item, at_us), quantity=1, channel="direct", device="desktop",
                promo=catalogue.on_promotion(item.category, at_us),
            ))
            at_us += rng.randint(*BOT_PAUSE_US)
        at_us += DAY_US + int(rng.random() * DAY_US)
    return events
