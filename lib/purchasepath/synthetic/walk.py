"""One session of the synthetic shop: a walk over the path model's states that leaves events behind."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import NamedTuple

from purchasepath.synthetic.attention import Attention
from purchasepath.synthetic.catalogue import DAY_US, Catalogue, Item
from purchasepath.synthetic.paths import PathModel
from purchasepath.synthetic.visitors import Visitor

PAUSE_LOG_MEAN, PAUSE_LOG_SPREAD = 3.2, 1.1
"""Log seconds between two events of a session: median 25 s, mean 45 s."""
LONGEST_PAUSE_US = 25 * 60_000_000
"""Well below the 30 minutes that end a session."""
LONGEST_SESSION_US = 6 * 3_600_000_000
RECENT_PURCHASE_US = 7 * DAY_US
CART_LASTS_US = 12 * DAY_US
CHECKS_CART_FIRST = 0.5
"""Chance that the first view of a visitor who left a cart is the item left there."""
TAKES_TWO = 0.08


class Event(NamedTuple):
    """One event as the shop would log it; `number` counts a visitor's events, `session` their sessions, from 1.

    `session` and `focused` are truth that no log tells.
    """

    number: int
    session: int
    ts_us: int
    type: str
    item: str | None = None
    category: str | None = None
    brand: str | None = None
    price: float | None = None
    quantity: int | None = None
    order: str | None = None
    query: str | None = None
    channel: str | None = None
    campaign: str | None = None
    device: str | None = None
    promo: bool | None = None
    focused: bool = False


class CartLine(NamedTuple):
    item: Item
    quantity: int


class Visit(NamedTuple):
    """How a session came about."""

    number: int
    channel: str
    campaign: str | None
    device: str


@dataclass
class Memory:
    """What a visitor carries from session to session."""

    attention: Attention
    events: list[Event] = field(default_factory=list)
    cart: list[CartLine] = field(default_factory=list)
    cart_touched_us: int = 0
    orders: int = 0
    bought_us: int | None = None
    bought: list[CartLine] = field(default_factory=list)


class SessionWalk:
    """Walks one session and appends its events to the visitor's memory."""

    def __init__(
        self, catalogue: Catalogue, paths: PathModel, visitor: Visitor, memory: Memory, rng: random.Random
    ) -> None:
        self._catalogue = catalogue
        self._paths = paths
        self._visitor = visitor
        self._memory = memory
        self._rng = rng
        self._viewed: Item | None = None

    def walk(self, visit: Visit, start_us: int, end_us: int) -> dict[str, float]:
        """Walks from `start_us` until the visitor leaves or the shop's time ends; the factors of the session's end."""
        memory, rng = self._memory, self._rng
        if start_us - memory.cart_touched_us > CART_LASTS_US:
            memory.cart.clear()
        self._visit, self._at_us = visit, start_us
        self._viewed = None
        self._checks_cart = bool(memory.cart) and rng.random() < CHECKS_CART_FIRST
        events_before, orders_before = len(memory.events), memory.orders
        factors = self._session_factors(start_us)
        state = self._paths.next_state("start_with_cart" if memory.cart else "start", factors, rng.random())
        while state != "leave":
            self._enter(state)
            self._update(factors)
            state = self._paths.next_state(state, factors, rng.random())
            self._at_us += self._pause_us()
            if self._at_us >= end_us or self._at_us - start_us > LONGEST_SESSION_US:
                break
        factors["purchased"] = float(memory.orders > orders_before)
        factors["bounced"] = float(len(memory.events) - events_before <= 2)
        factors["cart_left"] = float(bool(memory.cart))
        return factors

    def _session_factors(self, start_us: int) -> dict[str, float]:
        bought_us = self._memory.bought_us
        return {
            "channel_email": float(self._visit.channel == "email"),
            "channel_ad": float(self._visit.channel == "ad"),
            "propensity": self._visitor.propensity,
            "focused": float(self._memory.attention.focused),
            "recent_purchase": float(bought_us is not None and start_us - bought_us < RECENT_PURCHASE_US),
        }

    def _update(self, factors: dict[str, float]) -> None:
        """Price and promotion of what the visitor decides about: the item viewed, or at checkout the cart."""
        lines = [line.item for line in self._memory.cart]
        considered = [self._viewed] if self._viewed else lines
        factors["price"] = sum(item.price_score for item in considered) / max(1, len(considered))
        factors["promotion"] = float(any(self._catalogue.on_promotion(i.category, self._at_us) for i in considered))

    def _pause_us(self) -> int:
        pause = self._rng.lognormvariate(PAUSE_LOG_MEAN, PAUSE_LOG_SPREAD) * 1e6
        return min(max(int(pause), 300_000), LONGEST_PAUSE_US)

    def _enter(self, state: str) -> None:
        getattr(self, f"_{state}")()

    def _search(self) -> None:
        self._memory.attention.turn()
        self._log("search", query=self._memory.attention.words())

    def _category(self) -> None:
        self._memory.attention.turn()
        self._log("category", category=self._catalogue.categories[self._memory.attention.category])

    def _view(self) -> None:
        attention = self._memory.attention
        if self._checks_cart and self._memory.cart:
            item = attention.look_at(self._memory.cart[-1].item)
        else:
            item = attention.look_at_next(self._at_us)
        self._checks_cart = False
        self._viewed = item
        self._log_item("view", item)

    def _cart(self) -> None:
        assert self._viewed is not None, "the path model leads to the cart from a view only"
        line = CartLine(self._viewed, 2 if self._rng.random() < TAKES_TWO else 1)
        self._memory.cart.append(line)
        self._memory.cart_touched_us = self._at_us
        self._log_item("cart", line.item, quantity=line.quantity)

    def _remove(self) -> None:
        line = self._memory.cart.pop()
        self._log_item("remove", line.item, quantity=line.quantity)

    def _checkout(self) -> None:
        self._viewed = None
        self._memory.cart_touched_us = self._at_us
        self._log("checkout", order=self._order())

    def _purchase(self) -> None:
        """One event per line of the order, all at the same time."""
        memory, order = self._memory, self._order()
        for line in memory.cart:
            self._log_item("purchase", line.item, quantity=line.quantity, order=order)
        memory.bought, memory.bought_us = list(memory.cart), self._at_us
        memory.cart.clear()
        memory.orders += 1

    def _order(self) -> str:
        return f"o{self._visitor.number:08d}-{self._memory.orders + 1}"

    def _log_item(self, kind: str, item: Item, *, quantity: int = 1, order: str | None = None) -> None:
        self._log(
            kind, item=item.item, category=self._catalogue.categories[item.category], brand=item.brand_name,
            price=self._catalogue.price_at(item, self._at_us), quantity=quantity, order=order,
            promo=self._catalogue.on_promotion(item.category, self._at_us),
        )

    def _log(self, kind: str, **values: object) -> None:
        visit, events = self._visit, self._memory.events
        events.append(Event(
            number=len(events) + 1, session=visit.number, ts_us=self._at_us, type=kind,
            channel=visit.channel, campaign=visit.campaign, device=visit.device,
            focused=self._memory.attention.focused, **values,  # type: ignore[arg-type]
        ))
