"""The table of encoders and baselines."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.encoders import BASELINES, METRIC_NAMES, baselines_of, configure, table
from purchasepath.config import Evaluate
from purchasepath.models.encoders import ENCODERS


def run(line: str, seed: int | None, ndcg: float | None) -> dict[str, object]:
    return {"line": line, "seed": seed, "metrics": {**dict.fromkeys(METRIC_NAMES), "ndcg@10": ndcg}}


def test_encoders_come_first_with_mean_spread_and_the_popular_items_beside_them() -> None:
    runs = [run("popular_7d", None, 0.04), run("logistic_regression", None, None),
            run("gru", 13, 0.1), run("gru", 14, 0.14), run("transformer", 13, 0.2)]
    _, _, *lines = table(runs)
    assert [line.split("|")[1].strip() for line in lines] == ["gru", "transformer", "popular_7d", "logistic_regression"]
    assert lines[0].split(" | ")[1:4] == ["2", "", "0.1200 ± 0.0200"]
    assert lines[1].endswith("0.0400 |")
    assert lines[3].replace(" ", "").strip("|") == "logistic_regression"


def test_a_line_differs_from_the_shop_by_what_is_asked_for_only(tmp_path: Path) -> None:
    options = argparse.Namespace(retailrocket=tmp_path / "events.csv", overrides=[])
    assert set(BASELINES) > set(Evaluate().baselines)
    for shop in ("simulated", "retailrocket"):
        plain = configure(shop, tmp_path, options)
        for encoder in ENCODERS:
            changed = configure(shop, tmp_path, options, f"model.encoder={encoder}", "evaluate.baselines=[]")
            assert changed.evaluate.baselines == ()
            assert changed.model.model_copy(update={"encoder": plain.model.encoder}) == plain.model
            assert changed.training == plain.training
        assert all(str(tmp_path) in path for path in plain.paths.model_dump().values())


def test_only_baselines_that_the_dataset_can_answer_are_asked_for(tmp_path: Path) -> None:
    options = argparse.Namespace(overrides=[])
    plain, sided = (configure("simulated", tmp_path, options, f"dataset.side_features={sides}")
                    for sides in ("[]", "[category]"))
    assert set(baselines_of(sided)) - set(baselines_of(plain)) == {"popular_category_7d"}
    assert baselines_of(sided) == list(BASELINES)
