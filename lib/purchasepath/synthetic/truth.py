"""Tables beside the synthetic events, outside the warehouse: what the shop sells, and the truth that is scored against.

They are Parquet: `<paths.raw>/catalogue/` and `<paths.raw>/truth/<name>/`.
"""

from __future__ import annotations

from purchasepath.tables.types import Column, Table

TRUE_EVENTS = Table(
    "events",
    "true event, delivered once or more",
    "simulate",
    (
        Column("event_id", "string", "`id` of the raw line"),
        Column("visitor", "string", "`visitor` of the raw line"),
        Column("session_number", "int", "the visitor's sessions, counted from 1"),
        Column("event_type", "string", "as in the raw line"),
        Column("focused", "boolean", "the visitor compared items of one category in this session"),
        Column("late", "boolean", "it arrived hours or days after it happened"),
        Column("delivered_twice", "boolean", "a second line with the same id exists"),
    ),
    key=("event_id",),
)

TRUE_VISITORS = Table(
    "visitors",
    "visitor",
    "simulate",
    (
        Column("visitor", "string", "cookie id"),
        Column("is_bot", "boolean", "a crawler, not a person"),
        Column("login", "string", "account the visitor logs in with at some time", nullable=True),
        Column("churned_at", "timestamp", "end of the last session of one who stays away for good", nullable=True),
        Column("favourite_categories", "array<string>", "first and second favourite category"),
        Column("favourite_brands", "array<string>", "brands the visitor likes"),
        Column("price_band", "string", "low, middle or high: prices the visitor likes, relative to the category"),
        Column("propensity", "double", "wish to buy; standard normal over visitors"),
        Column("pause_days", "double", "mean days between two sessions with nothing left in the cart"),
    ),
    key=("visitor",),
)

TRUE_ITEMS = Table(
    "items",
    "item of the catalogue",
    "simulate",
    (
        Column("item", "string", "item id"),
        Column("category", "string", "category"),
        Column("line", "int", "product line within the category, from 0"),
        Column("brand", "string", "brand"),
        Column("price", "double", "price without promotion"),
        Column("price_score", "double", "log(price) in standard deviations from the catalogue's mean: factor `price`"),
        Column("launched_at", "timestamp", "no event before this time"),
        Column("popularity", "double", "weight with which visitors come across it within its category"),
    ),
    key=("item",),
)

SHOP_ITEMS = Table(
    "catalogue",
    "item that the shop sells or will sell",
    "simulate",
    (
        Column("item_id", "string", "item id"),
        Column("category", "string", "category"),
        Column("brand", "string", "brand"),
        Column("price", "double", "price without promotion"),
        Column("vector", "array<float>", "as of a text that names category, product line and brand"),
    ),
    key=("item_id",),
)

TRUTH_TABLES: tuple[Table, ...] = (TRUE_EVENTS, TRUE_VISITORS, TRUE_ITEMS)
