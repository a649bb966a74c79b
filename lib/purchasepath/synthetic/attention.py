"""What a visitor looks at next: by the comparison under way, by taste, or by chance."""

from __future__ import annotations

import random

from purchasepath.synthetic.catalogue import Catalogue, Item
from purchasepath.synthetic.visitors import FAVOURITE_CATEGORY_SHARES, Visitor

FOCUSED_NEXT = {"wandering": 0.25, "focused": 0.90, "bought": 0.08}
"""Chance that a session is focused, by what the visitor's session before was; the first comes after `wandering`."""
COMPARES = {True: 0.97, False: 0.25}
"""Chance that a focused (True) or a wandering (False) visitor goes on comparing where that is possible."""
KEEPS_CATEGORY = {True: 0.95, False: 0.50}
"""Chance that a search or a category page of such a visitor is still about the same category."""
TASTE_CHANCES = (0.15, 0.50, 1.0)
"""Chance to click a popular item that meets none, one or both of the visitor's wishes (brand, price band)."""
GLANCES = 8
"""Items a visitor glances at before taking the last available one, wished for or not."""


class Attention:
    """A visitor's interest: the category in mind and the last two items viewed, kept from session to session."""

    def __init__(self, catalogue: Catalogue, visitor: Visitor, predictable: float, rng: random.Random) -> None:
        self._catalogue = catalogue
        self._visitor = visitor
        self._predictable = predictable
        self._rng = rng
        self.focused = False
        self.category = self._favourite_category()
        self._before: Item | None = None
        self._last: Item | None = None

    def begin_session(self, uniform: float, *, bought: bool) -> None:
        """Focus lasts over sessions until a purchase (`bought` in the session before) or until it fades."""
        self.focused = uniform < FOCUSED_NEXT["bought" if bought else "focused" if self.focused else "wandering"]
        self.turn()

    def turn(self) -> None:
        """A search, a category page or a new session may turn the visitor to another category."""
        if self._rng.random() >= KEEPS_CATEGORY[self.focused]:
            self.category = self._favourite_category()

    def look_at_next(self, at_us: int) -> Item:
        """The next item viewed; with probability 1 - predictable any item of the shop."""
        if self._rng.random() >= self._predictable:
            return self.look_at(self._any_item(at_us))
        following = self._compared(at_us)
        return self.look_at(following or self._item_to_taste(at_us))

    def look_at(self, item: Item) -> Item:
        self._before, self._last = self._last, item
        return item

    def words(self) -> str:
        """What the visitor types into the search box."""
        brand = self._rng.choice(self._visitor.brands)
        return f"{self._catalogue.categories[self.category]} brand-{brand:02d}"

    def _compared(self, at_us: int) -> Item | None:
        if self._before is None or self._last is None or self._last.category != self.category:
            return None
        following = self._catalogue.compared_next(self._before, self._last)
        if following is None or following.launched_us > at_us or self._rng.random() >= COMPARES[self.focused]:
            return None
        return following

    def _item_to_taste(self, at_us: int) -> Item:
        fallback = self._catalogue.shelves[self.category][0]
        for _ in range(GLANCES):
            item = self._catalogue.pick_popular(self.category, self._rng.random())
            if item.launched_us > at_us or item is self._last:
                continue
            wishes = (item.brand in self._visitor.brands) + (item.price_band == self._visitor.price_band)
            if self._rng.random() < TASTE_CHANCES[wishes]:
                return item
            fallback = item
        return fallback

    def _any_item(self, at_us: int) -> Item:
        items = self._catalogue.items
        while True:  # every category has items from the first day on
            item = items[int(self._rng.random() * len(items))]
            if item.launched_us <= at_us:
                return item

    def _favourite_category(self) -> int:
        first, second = FAVOURITE_CATEGORY_SHARES
        draw = self._rng.random()
        if draw < first:
            return self._visitor.categories[0]
        if draw < first + second:
            return self._visitor.categories[1]
        return int(self._rng.random() * len(self._catalogue.categories))
