"""The catalogue: a grid of lines and brands, launches, prices and sales."""

from __future__ import annotations

from collections.abc import Callable
from math import dist
from statistics import fmean, pstdev

import pytest

from purchasepath.config import Simulate
from purchasepath.synthetic.catalogue import DAY_US, LINES, PROMOTION_DAYS, PROMOTION_FACTOR, Catalogue, Item

SHOP = Simulate(items=400, days=28, seed=5)


def test_the_compared_item_has_the_next_line_and_the_brand_of_the_item_before() -> None:
    catalogue = Catalogue(SHOP)
    shelf = catalogue.shelves[1]
    before, last = shelf[0 * LINES + 3], shelf[7 * LINES + 4]
    following = catalogue.compared_next(before, last)
    assert following is not None
    assert (following.category, following.line, following.brand) == (1, 0, 0)


def test_text_vectors_of_one_product_line_are_nearer_than_those_of_one_category() -> None:
    catalogue = Catalogue(SHOP)
    vectors = {item.item: catalogue.text_vector(item) for item in catalogue.items}
    assert vectors == {item.item: Catalogue(SHOP).text_vector(item) for item in catalogue.items}

    def mean_distance(alike: Callable[[Item, Item], bool]) -> float:
        return fmean(dist(vectors[a.item], vectors[b.item])
                     for a in catalogue.items[:60] for b in catalogue.items if a is not b and alike(a, b))

    line = mean_distance(lambda a, b: (a.category, a.line) == (b.category, b.line))
    category = mean_distance(lambda a, b: a.category == b.category and a.line != b.line)
    shop = mean_distance(lambda a, b: a.category != b.category)
    assert line + 1 < category < shop - 1


def test_items_of_two_categories_are_not_compared() -> None:
    catalogue = Catalogue(SHOP)
    assert catalogue.compared_next(catalogue.shelves[0][0], catalogue.shelves[1][0]) is None


@pytest.mark.parametrize("items", [10, 99, 100, 457])
def test_every_item_stands_on_one_shelf_at_its_place_in_the_grid(items: int) -> None:
    catalogue = Catalogue(Simulate(items=items))
    assert sorted(i.item for shelf in catalogue.shelves for i in shelf) == sorted({i.item for i in catalogue.items})
    assert len(catalogue.items) == items
    for shelf in catalogue.shelves:
        assert [(i.brand, i.line) for i in shelf] == [divmod(place, LINES) for place in range(len(shelf))]
        assert shelf[0].launched_us == catalogue.start_us


def test_some_items_are_launched_later_but_within_the_days() -> None:
    catalogue = Catalogue(SHOP)
    days = [(item.launched_us - catalogue.start_us) / DAY_US for item in catalogue.items]
    assert 0.05 < sum(day > 0 for day in days) / len(days) < 0.25
    assert max(days) < SHOP.days


def test_price_scores_are_standardised_log_prices() -> None:
    scores = [item.price_score for item in Catalogue(SHOP).items]
    assert fmean(scores) == pytest.approx(0, abs=1e-4)
    assert pstdev(scores) == pytest.approx(1, abs=1e-4)


def test_a_promoted_item_is_cheaper_on_the_days_of_its_sale_only() -> None:
    catalogue = Catalogue(SHOP)
    sale = catalogue.promotions[0]
    item = catalogue.shelves[catalogue.categories.index(sale.category)][0]
    prices = [catalogue.price_at(item, catalogue.start_us + day * DAY_US) for day in range(14)]
    on_sale = [day for day in range(14) if prices[day] < item.price]
    assert on_sale == list(range(sale.first_day, sale.last_day + 1))
    assert len(on_sale) == PROMOTION_DAYS
    assert prices[sale.first_day] == pytest.approx(item.price * PROMOTION_FACTOR, abs=0.01)


def test_popularity_is_skewed() -> None:
    catalogue = Catalogue(SHOP)
    weights = sorted((item.popularity for item in catalogue.items), reverse=True)
    assert sum(weights[:40]) > 0.3 * sum(weights)


def test_another_seed_is_another_catalogue_and_the_same_seed_the_same() -> None:
    assert Catalogue(SHOP).items == Catalogue(SHOP).items
    assert Catalogue(SHOP).items != Catalogue(SHOP.model_copy(update={"seed": 6})).items
