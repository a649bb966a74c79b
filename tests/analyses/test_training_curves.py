"""The training's panel: curves that can be told apart."""

from __future__ import annotations

from itertools import pairwise

from purchasepath.analyses.training_curves import ANALYSIS


def test_losses_of_different_size_have_axes_of_their_own() -> None:
    sizes = {"loss": 9.0, "item_loss": 6.0, "purchase_loss": 0.2, "churn_loss": 0.5, "session_loss": 0.1,
             "next_type_loss": 1.0}
    rows = [{"epoch": epoch, "metric": f"{split}_{kind}", "value": size / epoch}
            for kind, size in sizes.items() for split in ("train", "valid") for epoch in (1, 2, 3)]
    figure = ANALYSIS.panels[0].draw(rows).figure
    assert figure
    assert len(figure.data) == 12
    axis_of = {max(trace["y"]): trace["yaxis"] for trace in figure.data}
    assert len(set(axis_of.values())) == len(sizes)  # training and validation of a kind share one
    domains = sorted(tuple(value["domain"]) for name, value in figure.layout.items() if name.startswith("yaxis"))
    assert all(upper[0] > lower[1] for lower, upper in pairwise(domains))
    assert (figure.layout["xaxis"]["anchor"], [trace["showlegend"] for trace in figure.data].count(True)) == ("y6", 2)
