"""Small shops as plain Python objects, drawn once, and the states that their events stand for."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import groupby

from purchasepath.config import Simulate
from purchasepath.synthetic.catalogue import DAY_US, catalogue_of
from purchasepath.synthetic.journey import Journey, simulate_visitor
from purchasepath.synthetic.paths import EFFECTS, Effect, PathModel
from purchasepath.synthetic.walk import CART_LASTS_US, LONGEST_PAUSE_US, LONGEST_SESSION_US, Event

SMALL = Simulate(users=1500, days=28, items=300, seed=3, bot_share=0.02)


@lru_cache(maxsize=4)
def journeys(simulate: Simulate = SMALL, effects: tuple[Effect, ...] = EFFECTS) -> list[Journey]:
    paths = PathModel(effects=effects)
    return [simulate_visitor(simulate, paths, number) for number in range(simulate.users)]


def people(simulate: Simulate = SMALL, effects: tuple[Effect, ...] = EFFECTS) -> list[Journey]:
    return [journey for journey in journeys(simulate, effects) if not journey.visitor.is_bot]


def sessions(journey: Journey) -> list[list[Event]]:
    return [list(events) for _, events in groupby(journey.events, key=lambda event: event.session)]


def steps(journey: Journey, simulate: Simulate = SMALL) -> Iterator[tuple[str, str, Event | None]]:
    """(state, next state, event of the state) of every step walked, by bookkeeping of our own.

    The lines of one order are one step. Steps that were cut off by the shop's end or the longest session are left out.
    """
    end_us = catalogue_of(simulate).start_us + simulate.days * DAY_US
    cart, touched_us = 0, 0
    for session in sessions(journey):
        if session[0].type == "return":
            continue
        if session[0].ts_us - touched_us > CART_LASTS_US:
            cart = 0
        state, event = ("start_with_cart" if cart else "start"), None
        for following in session:
            if event is not None and following.type == "purchase" == event.type and following.order == event.order:
                continue
            yield state, following.type, event
            state, event = following.type, following
            cart = {"cart": cart + 1, "remove": cart - 1, "purchase": 0}.get(state, cart)
            touched_us = following.ts_us if state in ("cart", "checkout") else touched_us
        last_us = session[-1].ts_us
        longest_us = last_us - session[0].ts_us + LONGEST_PAUSE_US
        if last_us + LONGEST_PAUSE_US < end_us and longest_us < LONGEST_SESSION_US:
            yield state, "leave", event
