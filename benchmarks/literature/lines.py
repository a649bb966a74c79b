"""Lines of published tables, under the protocol that each set is split and ranked by here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """A system's published metrics, by our names; `source` says where they stand."""

    system: str
    metrics: Mapping[str, float]
    source: str

    def shown(self, metric: str) -> str:
        return f"{self.metrics[metric]:.4f}" if metric in self.metrics else ""


def shown_metrics(name: str) -> tuple[str, ...]:
    """The metrics that the set's published tables give."""
    return tuple(dict.fromkeys(metric for line in PUBLISHED[name] for metric in line.metrics))


def _at_10(system: str, recall: float, ndcg: float, source: str) -> Line:
    return Line(system, {"recall@10": recall, "ndcg@10": ndcg}, source)


def _at_20(system: str, recall: float, mrr: float, source: str) -> Line:
    return Line(system, {"recall@20": recall, "mrr@20": mrr}, source)


_KLENITSKIY = "Klenitskiy and Vasilev, RecSys 2023, repository antklen/sasrec-bert4rec-recsys23"
_ESASREC = "Tikhonovich and others, RecSys 2025, arXiv 2508.06450, repository blondered/transformer_benchmark"
_RECTOOLS = "repository blondered/bert4rec_repro"

PUBLISHED: Mapping[str, tuple[Line, ...]] = {
    "ml-1m": (
        _at_10("SASRec, one negative", 0.2500, 0.1341, _KLENITSKIY),
        _at_10("BERT4Rec", 0.2843, 0.1537, _KLENITSKIY),
        _at_10("gSASRec", 0.3003, 0.1726, "Petrov and Macdonald, RecSys 2023, repository asash/gSASRec-pytorch"),
        _at_10("SASRec, full softmax", 0.3152, 0.1821, _KLENITSKIY),
        _at_10("SASRec, softmax over 3,000 negatives", 0.3159, 0.1857, _KLENITSKIY),
    ),
    "beauty": (
        _at_10("SASRec, one negative", 0.0246, 0.0126, _KLENITSKIY),
        _at_10("BERT4Rec", 0.0338, 0.0187, _KLENITSKIY),
        _at_10("SASRec, full softmax", 0.0533, 0.0327, _KLENITSKIY),
        _at_10("SASRec, RecTools", 0.0595, 0.0359, _RECTOOLS),
    ),
    "s3rec-beauty": (
        _at_10("SASRec, one negative", 0.0605, 0.0318, _ESASREC),
        _at_10("TIGER", 0.0648, 0.0384, _ESASREC),
        _at_10("HSTU", 0.0788, 0.0439, _ESASREC),
        _at_10("eSASRec", 0.0928, 0.0523, _ESASREC),
        _at_10("SASRec, sampled softmax", 0.0921, 0.0531, _ESASREC),
    ),
    "s3rec-toys": (
        _at_10("TIGER", 0.0712, 0.0432, _ESASREC),
        _at_10("HSTU", 0.0778, 0.0450, _ESASREC),
        _at_10("eSASRec", 0.0939, 0.0538, _ESASREC),
        _at_10("SASRec, sampled softmax", 0.0970, 0.0580, _ESASREC),
    ),
    "diginetica": (
        _at_20("SR-GNN", 0.507, 0.176, "Wu and others, AAAI 2019"),
        _at_20("GCE-GNN", 0.542, 0.190, "Wang and others, SIGIR 2020"),
    ),
}
