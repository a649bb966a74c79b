"""Writes a synthetic shop: raw events as a shop would log them, and the truth beside them."""

from __future__ import annotations

from purchasepath.job import Job, Summary, main
from purchasepath.stages import command
from purchasepath.synthetic.shop import write_shop


def run(job: Job) -> Summary:
    """Replaces the shop in `paths.raw`; rows are the lines and the tables of the truth."""
    simulate, raw = job.config.simulate, job.config.paths.raw
    counts = write_shop(job.spark, simulate, raw, job.run_id)
    return Summary(
        rows={"raw lines": counts.lines, "truth/events": counts.events, "truth/visitors": counts.visitors},
        lines=[
            f"SYNTHETIC shop, seed {simulate.seed}: {counts.visitors:,} visitors ({counts.bots:,} bots, "
            f"{counts.churned:,} gone for good) over {simulate.days} days, {counts.sessions:,} sessions",
            f"{counts.late:,} events late, {counts.repeated:,} delivered twice, {counts.broken:,} broken lines added",
            f"events in {raw}/events, the truth behind them in {raw}/truth",
        ],
        next=command("ingest", "--set ingest.history=replace"),
        events=counts.events,
    )


if __name__ == "__main__":
    main("simulate", run)
