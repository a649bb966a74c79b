"""The synthetic catalogue: items on a grid of product lines and brands, prices, launches and promotions.

Every category is a grid of `LINES` product lines times its brands:

              brand 0   brand 1   brand 2 …
    line 0    item 0    item 5    item 10
    line 1    item 1    item 6    item 11
    …

Visitors who compare two brands go down the lines and alternate between the brands, so what they look at next is
in the line after the last item's and of the brand of the item before it: see `Catalogue.compared_next`.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import accumulate
from statistics import fmean, pstdev

from purchasepath.config import Simulate

DAY_US = 86_400_000_000
LINES = 5
ITEMS_PER_CATEGORY = 100
LAUNCHED_LATER_SHARE = 0.15
ZIPF_EXPONENT = 0.8
PROMOTION_EVERY_DAYS = 14
PROMOTION_DAYS = 4
PROMOTION_FACTOR = 0.8
PRICE_SPREAD = 0.5
BAND_EDGE = 0.215
"""Log-price distance from the category's level that cuts a normal of PRICE_SPREAD into thirds."""
TEXT_VECTOR_WIDTH = 32
OWN_WORDING = 0.5
"""Length of what is an item's own in its text vector, against 1 for each word."""
BANDS = ("low", "middle", "high")
CATEGORY_NAMES = ("kitchen", "garden", "audio", "shoes", "toys", "sports", "books", "bath")


@dataclass(frozen=True, slots=True)
class Item:
    """One item; `price_score` is log(price) in standard deviations from the catalogue's mean."""

    item: str
    category: int
    line: int
    brand: int
    brand_name: str
    price: float
    price_score: float
    price_band: str
    launched_us: int
    popularity: float


@dataclass(frozen=True)
class Promotion:
    """A category's sale: `first_day` to `last_day`, both included, counted from the shop's first day."""

    category: str
    first_day: int
    last_day: int


class Catalogue:
    """All items and promotions of a shop; the same for the same (seed, items, start, days)."""

    def __init__(self, simulate: Simulate) -> None:
        self.seed, self.start_us = simulate.seed, start_us(simulate)
        self.categories = _category_names(max(1, simulate.items // ITEMS_PER_CATEGORY))
        self.items = _draw_items(simulate, len(self.categories))
        self.promotions = _draw_promotions(simulate, self.categories)
        self.shelves = [[item for item in self.items if item.category == c] for c in range(len(self.categories))]
        self.num_brands = 1 + max(item.brand for item in self.items)
        self._cumulated = [list(accumulate(item.popularity for item in shelf)) for shelf in self.shelves]
        self._promotion_days = {
            (self.categories.index(p.category), day)
            for p in self.promotions for day in range(p.first_day, p.last_day + 1)
        }

    def compared_next(self, before: Item, last: Item) -> Item | None:
        """Next item of a visitor who compares: the line after `last`'s, the brand of `before`.

        None where the two are in different categories or the grid has a hole there.
        """
        if before.category != last.category:
            return None
        shelf = self.shelves[last.category]
        place = before.brand * LINES + (last.line + 1) % LINES
        return shelf[place] if place < len(shelf) else None

    def pick_popular(self, category: int, uniform: float) -> Item:
        """An item of `category` by popularity alone, launched or not."""
        cumulated = self._cumulated[category]
        return self.shelves[category][min(bisect_right(cumulated, uniform * cumulated[-1]), len(cumulated) - 1)]

    def text_vector(self, item: Item) -> list[float]:
        """What a model of texts would make of the item's: its words' directions added up, and something of its own."""
        category = self.categories[item.category]
        words = (category, f"{category} line {item.line}", item.brand_name)
        own = [OWN_WORDING * x for x in self._direction(item.item)]
        return [sum(xs) for xs in zip(own, *map(self._direction, words), strict=True)]

    def _direction(self, word: str) -> list[float]:
        rng = random.Random(f"{self.seed}/words/{word}")
        return [rng.gauss(0.0, 1.0) for _ in range(TEXT_VECTOR_WIDTH)]

    def on_promotion(self, category: int, at_us: int) -> bool:
        return (category, (at_us - self.start_us) // DAY_US) in self._promotion_days

    def launched_at(self, item: Item) -> datetime:
        return datetime.fromtimestamp(item.launched_us / 1e6, UTC)

    def price_at(self, item: Item, at_us: int) -> float:
        return round(item.price * PROMOTION_FACTOR, 2) if self.on_promotion(item.category, at_us) else item.price


@lru_cache(maxsize=4)
def catalogue_of(simulate: Simulate) -> Catalogue:
    """The shop's catalogue, built once per process."""
    return Catalogue(simulate)


def start_us(simulate: Simulate) -> int:
    """Microseconds from the epoch to the shop's first midnight (UTC)."""
    return int(datetime.fromisoformat(simulate.start).replace(tzinfo=UTC).timestamp()) * 1_000_000


def _category_names(count: int) -> list[str]:
    names = CATEGORY_NAMES
    return [names[c] if c < len(names) else f"{names[c % len(names)]}-{c // len(names) + 1}" for c in range(count)]


def _draw_items(simulate: Simulate, num_categories: int) -> list[Item]:
    """Items in order of their number; item n stands in category n % num_categories."""
    rng = random.Random(f"{simulate.seed}/items")
    ranks = list(range(simulate.items))
    rng.shuffle(ranks)
    category_level = [rng.uniform(2.5, 4.5) for _ in range(num_categories)]
    levels = [category_level[number % num_categories] for number in range(simulate.items)]
    prices = [round(math.exp(rng.gauss(level, PRICE_SPREAD)), 2) for level in levels]
    middle, spread = fmean(map(math.log, prices)), pstdev(map(math.log, prices)) or 1.0
    drawn = []
    for number, price in enumerate(prices):
        category, place = number % num_categories, number // num_categories
        level = math.log(price) - levels[number]
        # the first line of every category is there from the start, so no shelf is ever empty
        later = place >= LINES and rng.random() < LAUNCHED_LATER_SHARE
        launched_day = int(rng.random() * simulate.days) if later else 0
        drawn.append(Item(
            item=f"item-{number:05d}", category=category, line=place % LINES, brand=place // LINES,
            brand_name=f"brand-{place // LINES:02d}", price=price,
            price_score=round((math.log(price) - middle) / spread, 6),
            price_band=BANDS[0 if level < -BAND_EDGE else 1 if level < BAND_EDGE else 2],
            launched_us=start_us(simulate) + launched_day * DAY_US,
            popularity=1 / (ranks[number] + 5) ** ZIPF_EXPONENT,
        ))
    return drawn


def _draw_promotions(simulate: Simulate, categories: list[str]) -> list[Promotion]:
    """One sale per category and fortnight, on days of its own."""
    rng = random.Random(f"{simulate.seed}/promotions")
    drawn = []
    for fortnight in range(0, simulate.days, PROMOTION_EVERY_DAYS):
        for category in categories:
            first = fortnight + rng.randrange(PROMOTION_EVERY_DAYS - PROMOTION_DAYS + 1)
            drawn.append(Promotion(category, first, first + PROMOTION_DAYS - 1))
    return drawn
