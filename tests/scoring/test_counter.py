"""What is counted of a model's answers, against the model asked place by place."""

from __future__ import annotations

from collections import Counter as Counts

import pyarrow as pa
import pytest
import torch

from purchasepath.bundle.bundle import Bundle
from purchasepath.config import Evaluate
from purchasepath.datasets.batch import batch_from_arrow
from purchasepath.models.build import PurchasePathModel
from purchasepath.scoring.answers import Answers
from purchasepath.scoring.evaluation import Counter, as_answers
from purchasepath.scoring.measures import BinaryCounts
from purchasepath.scoring.metric_rows import metric_rows
from purchasepath.tables.tasks import LABEL_NAMES, TASK, Kind, of_kind
from tests.tiny_bundle import EXAMPLE_SCHEMA, MODEL, example, tiny_bundle

ALL = tuple(TASK)
BINARY = of_kind(Kind.BINARY)
ROWS = [{**example([3 + (n + i) % 5 for i in range(2 + n % 4)], targets={0: 4}, points={1: n % 2}), "bucket": n % 3}
        for n in range(9)]
SCHEMA = EXAMPLE_SCHEMA.append(pa.field("bucket", pa.int32()))


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, PurchasePathModel, Answers]:
    bundle = tiny_bundle(tmp_path_factory.mktemp("models"), model=MODEL.model_copy(update={"tasks": ALL}))
    model = bundle.build()
    for question in BINARY:
        model.heads[question].calibration.copy_(torch.tensor([0.5, -0.25]))
    counter = Counter(bundle, model, (1, 3))
    for start in (0, 4):  # counts add up over batches
        counter.add(pa.RecordBatch.from_pylist(ROWS[start : start + (4 if not start else 9)], SCHEMA))
    counts = {(r["kind"], r["k"], r["bucket"], r["key"], r["label"]): r["n"] for r in counter.counts().to_pylist()}
    return bundle, model, as_answers(counts, ALL, (1, 3))


@pytest.mark.parametrize("question", BINARY)
def test_probabilities_are_counted_calibrated_and_raw(
    asked: tuple[Bundle, PurchasePathModel, Answers], question: str
) -> None:
    _, model, answers = asked
    batch = batch_from_arrow(pa.Table.from_pylist(ROWS, EXAMPLE_SCHEMA), 2, len(LABEL_NAMES))
    with torch.inference_mode():
        logit_N, answer_N = model.ask(question, batch, model.encode(batch))
    for counts, scale, shift in ((answers.binary, 0.5, -0.25), (answers.raw, 1.0, 0.0)):
        probability_N = torch.sigmoid(scale * logit_N + shift)
        expected = BinaryCounts.of(Counts(zip((probability_N.double() * 1e6).round().int().tolist(),
                                              answer_N.int().tolist(), strict=True)))
        assert counts[question].positives_S.sum() == expected.positives_S.sum()
        # sums differ by rounding of single probabilities at most
        points_S = counts[question].positives_S + counts[question].negatives_S
        assert (counts[question].probability_S * points_S).sum() == pytest.approx(probability_N.sum().item(), abs=1e-4)
        assert points_S.sum() == len(logit_N)


def test_answers_are_counted_in_the_bucket_of_their_visitor(
    asked: tuple[Bundle, PurchasePathModel, Answers]
) -> None:
    _, model, answers = asked
    assert answers.ranks_GK is not None
    assert answers.types is not None
    for bucket in range(3):
        batch = batch_from_arrow(pa.Table.from_pylist(ROWS[bucket::3], EXAMPLE_SCHEMA), 2, len(LABEL_NAMES))
        with torch.inference_mode():
            hidden_BLD = model.encode(batch)
            places = {name: model.ask(name, batch, hidden_BLD)[1] for name in ("purchase", "session", "next_type")}
        assert answers.ranks_GK[bucket].sum() == 3  # a target each
        for question in ("purchase", "session"):
            counts = answers.binary[question]
            assert counts.positives_GC[bucket].sum() == places[question].sum()
            assert counts.negatives_GC[bucket].sum() == (1 - places[question]).sum()
        assert answers.types.places_G[bucket] == len(places["next_type"])
    for question in BINARY:  # nothing in any other bucket, and everything is in some cell
        counts = answers.binary[question]
        assert counts.positives_GC.sum() == counts.positives_S.sum()
        assert counts.negatives_GC.sum() == counts.negatives_S.sum()


def test_types_and_the_rows_of_all_questions(asked: tuple[Bundle, PurchasePathModel, Answers]) -> None:
    bundle, model, answers = asked
    batch = batch_from_arrow(pa.Table.from_pylist(ROWS, EXAMPLE_SCHEMA), 2, len(LABEL_NAMES))
    with torch.inference_mode():
        logit_NT, answer_N = model.ask("next_type", batch, model.encode(batch))
    found = {(r["task"], r["metric"]): r for r in metric_rows({"purchasepath": answers}, bundle, bundle.manifest,
                                                             Evaluate(ks=(1, 3)), "run")}
    assert {task for task, _ in found} == {"next_item", "cold_item", *ALL[1:]}
    hits = (logit_NT.argmax(dim=1) == answer_N).float().mean().item()
    assert found["next_type", "accuracy"]["value"] == pytest.approx(hits)
    loss = torch.nn.functional.cross_entropy(logit_NT, answer_N).item()
    assert found["next_type", "log_loss"]["value"] == pytest.approx(loss, abs=1e-5)
    assert found["churn", "log_loss_raw"]["value"] != found["churn", "log_loss"]["value"]
    assert "later in the running session" in found["session", "roc_auc"]["protocol"]


def test_a_pre_trained_bundle_answers_items_only() -> None:
    answers = as_answers({("rank", 0, 7, 1, 0): 3}, ("item",), (1,))
    assert (answers.targets, answers.binary, answers.types) == (3, {}, None)
    assert answers.ranks_GK is not None
    assert answers.ranks_GK[7].tolist() == [0, 3, 0]
