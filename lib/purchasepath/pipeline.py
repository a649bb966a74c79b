"""Which stages a pipeline runs, and its closing words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from purchasepath.config import Config
from purchasepath.errors import ConfigError, nearest
from purchasepath.job import Summary
from purchasepath.stages import PIPELINE, command

_WORTH_TRYING = (
    "select step, sessions, round(drop_off, 3) as drop_off from funnel where dimension = 'all' order by step_number",
    "select entity_id, value from scores where task = 'purchase' order by value desc limit 10",
    "select item_id, count(*) as users from recommendations where rank = 1 group by 1 order by users desc limit 10",
)


def chosen_stages(config: Config, first: str | None, last: str | None) -> tuple[str, ...]:
    """Stages from `first` to `last`; a shop is only simulated where simulated events are asked for.

    Raises ConfigError for an unknown stage, or where `last` comes before `first`.
    """
    for name in (first, last):
        if name is not None and name not in PIPELINE:
            raise ConfigError([f"unknown stage `{name}`{nearest(name, PIPELINE)}"])
    begin, end = PIPELINE.index(first or PIPELINE[0]), PIPELINE.index(last or PIPELINE[-1])
    if begin > end:
        raise ConfigError([f"--from {first} comes after --to {last}; the order is {', '.join(PIPELINE)}"])
    return tuple(s for s in PIPELINE[begin : end + 1] if s != "simulate" or config.ingest.source == "simulated")


def with_fresh_history(config: Config, stages: Sequence[str]) -> Config:
    """`config` for these stages: events of a shop that is simulated anew replace those of the shop before it."""
    if "simulate" not in stages:
        return config
    return config.model_copy(update={"ingest": config.ingest.model_copy(update={"history": "replace"})})


def closing_words(summaries: Mapping[str, Summary], seconds: float, standings: str, config: Config, sql_options: str
                  ) -> str:
    """Processor time and rows of every stage, the model beside its baselines, where the report is, queries to try."""
    minutes, rest = divmod(round(seconds), 60)
    width = max((len(table) for summary in summaries.values() for table in summary.rows), default=0) + 2
    whole = sum(summary.processor_seconds for summary in summaries.values())
    lines = [f"\npipeline: done in {minutes} min {rest} s, {whole:,.1f} processor seconds"]
    for stage, summary in summaries.items():
        lines.append(f"  {stage:<{width}} {summary.processor_seconds:>14,.1f} processor seconds")
        lines += [f"    {table:<{width - 2}} {count:>14,} rows" for table, count in summary.rows.items()]
    lines += ["", standings] if standings else []
    report = Path(config.paths.report).absolute()
    lines += ["", f"report: {report}"] if report.exists() else []
    lines += ["try:", *(f'  {command("sql")}{sql_options} "{query}"' for query in _WORTH_TRYING)]
    return "\n".join(lines)
