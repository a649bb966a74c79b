"""Who visits the synthetic shop: tastes, habits, and the fate that is drawn for each visitor.

Everything about visitor n is drawn from one generator seeded with (seed, n), so a visitor is the same on any
partition of any machine.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from purchasepath.config import Simulate
from purchasepath.synthetic.catalogue import BANDS, DAY_US, Catalogue

CHANNELS = ("direct", "search", "email", "ad", "social")
CHANNEL_SHARES = (0.32, 0.28, 0.14, 0.16, 0.10)
DEVICES = ("mobile", "desktop", "tablet")
DEVICE_SHARES = (0.56, 0.36, 0.08)
FAVOURITE_BRANDS = 4
FAVOURITE_CATEGORY_SHARES = (0.65, 0.22)
"""Chances that a session is about the first and the second favourite category; otherwise any category."""
FRONT_LOAD = 1.3
"""First visits fall on u ** FRONT_LOAD of the time span: more of them early, so that there is history to learn from."""


@dataclass(frozen=True)
class Visitor:
    """A visitor's fixed traits; `propensity` is standard normal, `login` None for those who never log in."""

    number: int
    visitor: str
    is_bot: bool
    login: str | None
    categories: tuple[int, int]
    brands: tuple[int, ...]
    price_band: str
    propensity: float
    pause_days: float
    channel: str
    device: str
    first_visit_us: int


def visitor_generator(seed: int, number: int) -> random.Random:
    """The generator that everything about a visitor is drawn from. Text seeds are hashed with SHA-512."""
    return random.Random(f"{seed}/visitor/{number}")


def draw_visitor(simulate: Simulate, catalogue: Catalogue, number: int, rng: random.Random) -> Visitor:
    """Traits of visitor `number`; takes the first draws of the visitor's own generator."""
    num_categories = len(catalogue.categories)
    is_bot = rng.random() < simulate.bot_share
    logs_in = rng.random() < simulate.login_share
    first = rng.random() ** FRONT_LOAD * simulate.days * DAY_US
    # squares and products of uniforms are skewed to 0: low numbers are the popular categories and brands
    return Visitor(
        number=number,
        visitor=f"v{number:08d}",
        is_bot=is_bot,
        login=f"account-{number:08d}" if logs_in and not is_bot else None,
        categories=(int(rng.random() ** 1.5 * num_categories), int(rng.random() * num_categories)),
        brands=tuple(int(rng.random() ** 1.2 * catalogue.num_brands) for _ in range(FAVOURITE_BRANDS)),
        price_band=rng.choice(BANDS),
        propensity=rng.gauss(0, 1),
        pause_days=min(rng.lognormvariate(2.0, 0.5), 30.0),
        channel=rng.choices(CHANNELS, CHANNEL_SHARES)[0],
        device=rng.choices(DEVICES, DEVICE_SHARES)[0],
        first_visit_us=catalogue.start_us + int(first),
    )
