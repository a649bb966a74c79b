"""Panels about the model and the data it learnt from: metrics, calibration, curves, scores, data quality."""

from __future__ import annotations

from collections.abc import Sequence

from purchasepath.analysis import figures, queries, wording
from purchasepath.analysis.figures import Row, ours_first
from purchasepath.analysis.panels import Content, Grid, Panel
from purchasepath.analysis.wording import count, percent
from purchasepath.scoring.leaderboard import verdict
from purchasepath.scoring.measures import LOWER_IS_BETTER
from purchasepath.sessions.bots import left_out

OURS = "purchasepath"


def next_item(rows: Sequence[Row]) -> Content:
    return _metrics(rows, "next_item", ("recall", "ndcg", "mrr"), "recall")


def purchase(rows: Sequence[Row]) -> Content:
    return _metrics(rows, "purchase", ("roc_auc", "pr_auc"), "roc_auc")


def _metrics(rows: Sequence[Row], task: str, drawn: tuple[str, ...], judged: str) -> Content:
    """All metrics of a task as a table, the `drawn` ones as bars, and what can be said of the `judged` one."""
    rows = [row for row in rows if row["task"] == task]
    if not rows:
        return Content("Nothing was measured for this task.")
    models = ours_first({row["model"] for row in rows})
    cut_offs = sorted({row["k"] for row in rows if row["k"] is not None})
    middle = 10 if 10 in cut_offs else cut_offs[len(cut_offs) // 2] if cut_offs else None
    keys = list(dict.fromkeys((row["metric"], row["k"]) for row in sorted(rows, key=_metric_order)))
    found = {(row["model"], _key(row["metric"], row["k"])): row for row in rows}
    names = [_key(metric, k) for metric, k in keys]
    shown = [_key(metric, k) for metric, k in keys if metric in drawn and k in (middle, None)]
    others = [model for model in models if model != OURS]
    grid = Grid(("metric", wording.name(OURS), "against the baseline ahead", *map(wording.name, others)), tuple(
        (_label(key), wording.sure_metric(found.get((OURS, key))), _against(found.get((OURS, key))),
         *(wording.metric(found[model, key]["value"] if (model, key) in found else None) for model in others))
        for key in names))
    judged_key = next((key for key in shown if key.split("@")[0] == judged), "")
    return Content(_comparison(task, found.get((OURS, judged_key))), figures.model_bars(models, shown, found), grid,
                   hint=_protocol(rows, models))


def _metric_order(row: Row) -> tuple[int, str, int]:
    order = ("recall", "ndcg", "mrr", "coverage", "roc_auc", "pr_auc", "base_rate", "precision", "f1")
    # recall is a ranking metric where it has a cut-off, and belongs beside precision where it has none
    rank = order.index(row["metric"]) if row["metric"] in order else len(order)
    return (rank if row["k"] is not None or row["metric"] != "recall" else order.index("precision"),
            row["metric"], row["k"] or 0)


def _key(metric: str, k: int | None) -> str:
    return metric if k is None else f"{metric}@{k}"


def _label(key: str) -> str:
    metric, at, k = key.partition("@")
    lower = " ↓" if metric in LOWER_IS_BETTER else ""
    return wording.name(metric) + at + k + lower


def _comparison(task: str, ours: Row | None) -> str:
    """Whether the model is ahead, in words that the interval of the difference allows."""
    what = "guessing the next item" if task == "next_item" else "telling who will buy"
    if ours is None or ours["baseline"] is None:
        return f"For {what} there is nothing to compare: no baseline was measured beside the model with an interval."
    label, low, high = _label(_key(ours["metric"], ours["k"])), ours["difference_low"], ours["difference_high"]
    said = {
        "better": "the model beats", "worse": "the model falls behind",
        "no difference": "there is no difference that could not be chance between the model and",
    }[verdict(ours["metric"], low, high)]
    unsure = "too few visitors to tell more" if low is None else (
        f"the difference lies between {low:+.3f} and {high:+.3f}")
    return (f"At {what} {said} the baseline with the highest {label}: {ours['value']:.3f} against "
            f"{ours['value'] - ours['difference']:.3f} for {wording.name(ours['baseline'])}; {unsure}.")


def _against(ours: Row | None) -> str:
    """better (Latent factors, +0.0120 to +0.0240)"""
    if ours is None or ours["baseline"] is None:
        return ""
    low, high = ours["difference_low"], ours["difference_high"]
    said = verdict(ours["metric"], low, high).replace("no difference", "may be chance")
    ends = "too few visitors" if low is None else f"{low:+.4f} to {high:+.4f}"
    return f"{said} ({wording.name(ours['baseline'])}, {ends})"


def _protocol(rows: Sequence[Row], models: Sequence[str]) -> str:
    """What holds for all models once, then what each of them saw."""
    clauses = {row["model"]: (row["protocol"] or "").rstrip(".").split("; ") for row in rows}
    shared = [clause for clause in clauses[models[0]] if all(clause in of_one for of_one in clauses.values())]
    own = {model: "; ".join(clause for clause in clauses[model] if clause not in shared) for model in models}
    sentences = ["; ".join(shared), *(f"{wording.name(model)}: {clause}" for model, clause in own.items() if clause)]
    support = max(row["support"] for row in rows)
    told = [f"Measured on {count(support)} cases.", *(f"{s[:1].upper()}{s[1:]}." for s in sentences if s)]
    if any(row["metric"] in LOWER_IS_BETTER for row in rows):
        told.append("↓ lower is better.")
    if any(row["low"] is not None for row in rows):
        told.append("In brackets and as whiskers: 95 % intervals, from resampling visitors.")
    return " ".join(told)


def calibration(rows: Sequence[Row]) -> Content:
    model = ours_first({row["model"] for row in rows})[0]
    part = [row for row in rows if row["model"] == model]
    points = sum(row["points"] for row in part)
    off = sum(row["points"] * abs(row["mean_predicted"] - row["observed"]) for row in part) / points
    return Content(
        f"On average a probability predicted by {wording.name(model)} differs by {off * 100:.1f} percentage points "
        f"from the share that really bought.", figures.calibration(rows),
        hint="Each point is a group of similar predictions; on the dotted line they would come exactly true.")


def training_curves(rows: Sequence[Row]) -> Content:
    losses = [row for row in rows if "loss" in row["metric"] and row["value"] is not None]
    epochs = max(row["epoch"] for row in rows)
    valid = [row for row in losses if row["metric"] == "valid_loss"]
    if not valid:
        return Content(f"The model was trained for {epochs} epochs.", figures.training_curves(losses or rows))
    best = min(valid, key=lambda row: (row["value"], row["epoch"]))
    return Content(f"Of {epochs} epochs, epoch {best['epoch']} had the lowest validation loss ({best['value']:.4f}).",
                   figures.training_curves(losses))


def scores(rows: Sequence[Row]) -> Content:
    visitors = sum(row["visitors"] for row in rows)
    expected = sum(row["expected_buyers"] for row in rows)
    top = sum(row["expected_buyers_in_top_tenth"] for row in rows) / expected if expected else 0.0
    horizon = rows[0]["horizon_hours"]
    span = f"{horizon / 24:g} days" if horizon >= 48 else f"{horizon:g} hours"
    as_of = max(row["as_of"] for row in rows)
    return Content(
        f"Of {count(visitors)} visitors scored as of {wording.day(as_of)}, the model expects about {count(expected)} "
        f"to buy within {span}; the tenth with the highest scores holds {percent(top)} of these expected buyers.",
        figures.score_distribution(rows))


def top_items(rows: Sequence[Row]) -> Content:
    first = rows[0]
    return Content(
        f"Item {first['item_id']} is recommended to most people: it is in the recommendations of "
        f"{percent(first['share_of_visitors'])} of the visitors, in first place for {count(first['first_places'])}.",
        figures.top_items(rows))


def books(rows: Sequence[Row]) -> Content:
    row = rows[0]
    if not row["read"]:
        return Content("No rows were read.")
    balanced = row["read"] == row["accepted"] + row["duplicates"] + row["rejected"]
    tiles = tuple((part, count(row[part])) for part in ("read", "accepted", "duplicates", "rejected"))
    return Content(
        f"Of {count(row['read'])} raw rows in {count(row['files'])} files (source {row['source']}), "
        f"{percent(row['accepted'] / row['read'])} were accepted, {percent(row['duplicates'] / row['read'])} were "
        f"duplicates and {percent(row['rejected'] / row['read'])} were rejected; "
        + ("the books balance to the row." if balanced else "the books do NOT balance."),
        figures.books(row), tiles=tiles)


def rejections(rows: Sequence[Row]) -> Content:
    grid = Grid(("reason", "rows"), tuple((row["reason"], count(row["rows"])) for row in rows))
    first = rows[0]
    return Content(f"The most common reason for rejecting a row is: {first['reason']} ({count(first['rows'])} rows). "
                   f"A row may have several reasons.", grid=grid)


def bots(rows: Sequence[Row]) -> Content:
    out = left_out(rows, sum(row["visitors_revenue"] or 0.0 for row in rows),
                   sum(row["visitors_purchases"] or 0 for row in rows))
    flagged = next((row for row in rows if row["is_bot"]), None)
    if flagged is None:
        return Content(f"None of {count(out.num_sessions)} sessions was flagged as a bot's.")
    tiles = tuple((f"bot {part}", count(flagged[part])) for part in ("sessions", "visitors", "events"))
    return Content(
        f"{count(out.flagged)} of {count(out.num_sessions)} sessions, with {percent(out.events)} of events and "
        f"{percent(out.value)} of {out.noun}, were flagged as a bot's by their agent, rate or size; they stay in the "
        f"table and are left out of the figures above. Their visitors, with {percent(out.value_of_visitors)} of "
        f"{out.noun}, are left out of training.", tiles=tiles, hint=out.too_much)


MODEL = (
    Panel("next-item", "Which item comes next", queries.METRICS, next_item),
    Panel("purchase", "Who will buy", queries.METRICS, purchase),
    Panel("calibration", "Can the probabilities be trusted", queries.CALIBRATION, calibration),
    Panel("training", "How the training went", queries.TRAINING_CURVES, training_curves),
)
SCORES = (
    Panel("scores", "Who is likely to buy", queries.SCORES, scores),
    Panel("top-items", "What is recommended most", queries.TOP_ITEMS, top_items),
)
QUALITY = (
    Panel("books", "The books of ingest", queries.BOOKS, books),
    Panel("rejections", "Why rows were rejected", queries.REJECTIONS, rejections),
    Panel("bots", "Bots", queries.BOTS, bots),
)
