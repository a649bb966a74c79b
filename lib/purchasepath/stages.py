"""The stages: what `./spark-submit.sh` runs, in which order, from what to what. Their only list; needs bare Python.

Pipeline, launcher, README and the hints of what to run next derive from it. A stage is `jobs/<name>.py`. Which tables
it writes, each table says (`Table.written_by`).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Stage:
    """`does` completes the stage's line in the launcher's help.

    `reads` are names of tables, and words for what is none; `writes` are words for what it leaves beside its tables.
    """

    name: str
    does: str
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()


PATH = (
    Stage("simulate", "write the raw events of a generated shop",
          (), ("raw events of a synthetic shop", "its catalogue", "the truth about it")),
    Stage("ingest", "raw files into events and rejected_events", ("raw files",)),
    Stage("sessionize", "events into sessions", ("events", "event_changes")),
    Stage("features", "user, item and session features at as-of times", ("sessions",)),
    Stage("dataset", "training examples, vocabulary and manifest",
          ("sessions", "user_features", "user_partials"), ("the manifest",)),
    Stage("train", "the model, on Horovod ranks; a bundle",
          ("the dataset",), ("a bundle (weights, configuration, vocabulary)", "an MLflow run")),
    Stage("evaluate", "the model's metrics beside the baselines'", ("the bundle", "the dataset", "sessions")),
    Stage("score", "recommendations and answers to every task, of everybody",
          ("the newest bundle", "sessions", "user_features")),
    Stage("analyze", "funnel, transitions, removal effects, paths, channels", ("sessions",)),
    Stage("report", "all of it as one HTML file", ("the tables",), ("one HTML file",)),
)
"""What `pipeline` runs, in this order."""

PIPELINE = tuple(stage.name for stage in PATH)

BESIDE = (
    Stage("stitch", "who stands behind a visitor: accounts, persons, and sessions across devices", ("events",)),
    Stage("sql", 'query the warehouse: ./spark-submit.sh sql "select * from metrics" [--format table|csv|json]'),
    Stage("doctor", "what is installed, what works, what to do about the rest [--json];\n"
                    "--warehouse [DIR] [options]: whether every file of the warehouse is as it was committed"),
)

STAGES = (
    Stage("pipeline", "every stage on the configured input; the default input is a generated shop"), *PATH, *BESIDE,
)


def command(stage: str, *options: str) -> str:
    """How a stage is run."""
    return " ".join(["./spark-submit.sh", stage, *options])


def next_command(stage: str) -> str:
    """How the stage after this one is run; '' at the end of the path and beside it."""
    follower = dict(pairwise(PIPELINE)).get(stage)
    return command(follower) if follower else ""


def help_text() -> str:
    """The stages as the launcher's help tells of them: a line each, more where `does` has more."""
    def lines(stage: Stage) -> list[str]:
        first, *more = stage.does.splitlines()
        return [f"  {stage.name:<12} {first}", *(f"{'':15}{line}" for line in more)]

    pipeline, *path = STAGES[: 1 + len(PATH)]
    return "\n".join([
        "stages, in the order in which `pipeline` runs them:", *lines(pipeline),
        *(line for stage in path for line in lines(stage)),
        "and beside the path:", *(line for stage in BESIDE for line in lines(stage)), ""])
