"""The knobs of what is learned: dataset, model, training, tracking, evaluation, scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from purchasepath.errors import nearest
from purchasepath.knobs import (
    Address,
    Count,
    CountOrNone,
    FileName,
    Hours,
    Once,
    Section,
    Seed,
    Weight,
    known_moment,
)
from purchasepath.places import BundlePlace, Place
from purchasepath.tables.tasks import LABEL_NAMES, TASK, TASKS


def _one_of(known: Sequence[str]) -> AfterValidator:
    def check(name: str) -> str:
        if name not in known:
            raise ValueError(f"no such task{nearest(name, known)}")
        return name

    return AfterValidator(check)


TaskName = Annotated[str, _one_of(tuple(TASK))]
LabelledTask = Annotated[str, _one_of(LABEL_NAMES)]


class Dataset(Section):
    min_item_count: Count = Field(3, description="rarer items share the OOV id")
    max_items: Count = Field(1_000_000, description="largest item vocabulary")
    side_features: Annotated[tuple[Literal["category", "brand", "price", "vector"], ...], Once] = Field(
        (), description="what the model is told of an item beside its history, as events of the training span and "
        "`paths.items` say it; with any, items without a history are scored, too"
    )
    max_length: int = Field(64, ge=2, le=65_536,
                            description="events per example; longer histories become several examples")
    horizon_hours: Hours = Field(168, description="how far ahead tasks at as-of times look")
    horizons: dict[LabelledTask, Hours] = Field(default_factory=dict, description="horizons (hours) of tasks that look "
                                                "otherwise far ahead, as `value: 720`")
    valid_hours: Hours = Field(168, description="validation span, just before the test span")
    test_hours: Hours = Field(168, description="test span, up to the last midnight that the data reaches (with "
                              "`features.every_hours` below 24: the last multiple of it)")
    rows_per_group: int = Field(256, ge=1, le=1_000_000, description="rows of every Parquet row group of EXAMPLES")
    seed: Seed = Field(11, description="shuffles users over row groups")


class Model(Section):
    encoder: Literal["transformer", "sasrec", "gru", "lstm", "bert4rec"] = Field(
        "transformer", description="`transformer`: gated blocks after a causal convolution over the last events; "
        "`sasrec`: the plain blocks of SASRec; `gru`, `lstm`: recurrent layers; `bert4rec`: the "
        "transformer's layers, which read both ways and learn to guess masked events"
    )
    tasks: Annotated[tuple[TaskName, ...], Once] = Field(
        ("item", "purchase", "churn", "value"), min_length=1,
        description="what the model predicts: " + "; ".join(
            f"`{task.name}`: {task.meaning.format(horizon='its horizon of')}" for task in TASKS)
        + ". A task that the training span answers in one way alone is left out"
    )
    width: int = Field(64, ge=8, le=16_384, description="size of the vectors (D)")
    layers: int = Field(2, ge=1, le=256, description="blocks of a transformer, layers of a recurrent encoder")
    heads: int = Field(2, ge=1, le=256, description="attention heads of a transformer; divides `width`")
    feed_forward: float = Field(2.0, gt=0, le=64, description="inner width of a transformer's blocks, in multiples of "
                                "`width`")
    dropout: float = Field(0.1, ge=0, lt=1, description="on embeddings and residual branches")
    mask_share: float = Field(0.3, gt=0, le=1, description="`bert4rec`: share of the next items that a training step "
                              "masks and learns from")

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.encoder not in ("gru", "lstm") and self.width % self.heads:
            raise ValueError(f"heads={self.heads} must divide width={self.width}")
        return self


class Training(Section):
    ranks: int = Field(2, ge=1, le=10_000, description="training processes; 1 runs in the driver itself")
    backend: Literal["auto", "horovod", "torch", "solo"] = Field(
        "auto", description="what joins the ranks; `horovod`; `torch`: torch.distributed; `auto`: Horovod, or torch "
        "where set-up could not build it; `solo`: nothing, for one rank"
    )
    elastic: bool = Field(False, description="with Horovod: go on without a rank that was lost, from the last "
                          "checkpoint, and take in another one that Spark starts in its place")
    epochs: Count = Field(4, description="most passes over the training examples")
    patience: Count = Field(2, description="stop after this many epochs without a better one")
    select_by: Literal["loss", "ndcg"] = Field("loss", description="what makes an epoch the better one on the "
                                               "validation split: its loss, or NDCG@10 of the next item")
    batch_size: int = Field(64, ge=1, le=10_000_000, description="examples per step over all ranks together")
    lanes: int = Field(8, ge=1, le=10_000_000,
                       description="parts a batch is cut into; batches are the same for any ranks <= lanes")
    learning_rate: float = Field(0.004, gt=0, le=100, description="peak rate for a batch of 128; scaled with the batch")
    warmup_steps: CountOrNone = Field(50, description="linear warm-up")
    weight_decay: float = Field(0.01, ge=0, le=100, description="AdamW")
    clip_norm: float = Field(1.0, gt=0, le=1_000_000_000, description="largest gradient norm")
    valid_examples: Count = Field(4096, description="validation examples looked at after an epoch: the first "
                                "row groups (users lie in random order) with at least this many")
    negatives: CountOrNone = Field(0, description="items that a step's targets are told from, drawn anew every step "
                           "and shared by its examples (sampled softmax); 0: the whole catalogue, which is exact and, "
                           "up to some 10,000 items, no slower")
    item_dropout: float = Field(0.2, ge=0, lt=1, description="share of items whose own vector a step leaves out, for "
                                "their side features to learn to stand alone; without side features none")
    other_weight: Weight = Field(0.5, description="weight of every other loss beside the next item's")
    start_from: BundlePlace = Field("", description="bundle whose weights training begins with: `latest`, a bundle "
                                    "directory, or models:/<name>/<version or @alias>; empty: fresh weights")
    tune: Literal["full", "frozen", "lora"] = Field(
        "full", description="what changes of a model that training begins with: everything, its heads alone, or its "
        "heads and low-rank adapters on attention and feed-forward matrices"
    )
    lora_rank: int = Field(8, ge=1, le=16_384, description="rank of the adapters of `tune: lora`")
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="`auto`: bf16 on a GPU, fp32 elsewhere")
    seed: Seed = Field(13, description="weights, dropout and the order of batches")
    resume: bool = Field(True, description="go on from the checkpoint of a run with the same config and data")
    checkpoint_steps: Count = Field(500, description="steps between checkpoints, beside one after every epoch")
    timeout_minutes: float = Field(30, gt=0, le=10_080, description="longest wait for all ranks to start")
    network_interface: str = Field("", description="on a cluster: what ranks and the services that start them listen "
                                   "on, such as eth0, the same name on every host; empty: the interface by which "
                                   "executors reach the driver. On one machine it is always loopback")


class Tracking(Section):
    uri: Address = Field("sqlite:///var/mlflow.db", min_length=1, description="MLflow tracking store")
    artifacts: Place = Field("var/mlartifacts", description="artifact directory of new experiments in a local store")
    experiment: str = Field("purchasepath", min_length=1, max_length=500, description="experiment of the runs")
    registered_model: FileName = Field("purchasepath", description="name under which bundles are registered")


class Evaluate(Section):
    ks: Annotated[tuple[Annotated[int, Field(ge=1, le=10_000)], ...], Once] = Field(
        (5, 10, 20), min_length=1, description="cut-offs of Recall, NDCG, MRR and coverage"
    )
    baselines: Annotated[tuple[Literal[
        "popular_7d", "popular_category_7d", "markov_1", "markov_2", "item_knn", "als", "logistic_regression",
        "linear_regression"], ...
    ], Once] = Field(
        ("popular_7d", "markov_1", "als", "logistic_regression", "linear_regression"),
        description="what the model is set beside; `markov_2` (the last two items) and `item_knn` (cosine of the "
        "examples that two items share) take some more seconds, `als` (latent factors) as long as all others; "
        "`logistic_regression` and, of amounts and counts, "
        "`linear_regression` answer from the user features alone; `popular_category_7d` (the last item's category) "
        "needs `category` among `dataset.side_features`"
    )
    threshold: float = Field(0.5, gt=0, lt=1, description="purchase probability from which we say `will buy`")


class Score(Section):
    bundle: BundlePlace = Field("latest", description="`latest`, a bundle directory, or models:/<name>/<version or "
                                "@alias>")
    top_k: int = Field(10, ge=1, le=10_000, description="recommendations per user")
    exclude: Literal["none", "purchased", "seen"] = Field("none", description="items never recommended to a user")
    batch_rows: int = Field(1024, ge=1, le=1_000_000, description="users scored at once")
    item_block: Count = Field(65_536, description="items scored at once")
    as_of: str = Field("", description="as-of time to score at, such as 2026-03-01 or 2026-03-01T12:00 (UTC); empty: "
                       "the newest")
    max_drift: Weight = Field(1.0, description="population stability index of any task's answers against "
                             "the last published ones, above which nothing is published (0.25 is a clear shift); "
                             "0 turns the check off")

    _known = field_validator("as_of")(known_moment)
