"""SESSIONS -> FUNNEL, TRANSITIONS, REMOVAL_EFFECTS, PATHS and CHANNELS, all of them or none."""

from __future__ import annotations

from purchasepath.analysis.attribution import effects_frame, effects_of_events, most_decisive, with_intervals
from purchasepath.analysis.channels import summarize_channels, summarize_journeys
from purchasepath.analysis.funnel import check_steps, observe, summarize_funnel
from purchasepath.analysis.paths import summarize_paths
from purchasepath.analysis.transitions import summarize_transitions, transitions_by_bucket
from purchasepath.job import Job, Summary, main
from purchasepath.tables.catalog import CHANNELS, FUNNEL, PATHS, REMOVAL_EFFECTS, SESSIONS, TRANSITIONS


def run(job: Job) -> Summary:
    config = job.config.analyze
    check_steps(config.funnel)
    sessions = job.warehouse.read(SESSIONS)
    observed, bounds = observe(sessions, config.funnel, config.price_bands)
    steps = observed or list(config.funnel)  # sessions without any of them reach none
    skipped = [step for step in config.funnel if step not in steps]

    with job.warehouse.transaction(job.run_id) as tx:
        transitions = tx.materialize(summarize_transitions(sessions), "transitions")
        journeys = tx.materialize(summarize_journeys(sessions), "journeys")
        effects = with_intervals(effects_of_events(transitions), transitions_by_bucket(sessions))
        paths = summarize_paths(sessions, path_length=config.path_length, top_paths=config.top_paths)
        rows = {
            "funnel": tx.write(FUNNEL, summarize_funnel(sessions, steps, bounds)),
            "transitions": tx.write(TRANSITIONS, transitions),
            "removal_effects": tx.write(REMOVAL_EFFECTS, effects_frame(job.spark, effects)),
            "paths": tx.write(PATHS, paths),
            "channels": tx.write(CHANNELS, summarize_channels(journeys)),
        }

    lines = [f"funnel: {' > '.join(steps)}" if observed else f"no session has a step of the funnel: {', '.join(steps)}"]
    if skipped:
        lines.append(f"left out of the funnel, no session has them: {', '.join(skipped)}")
    decisive = most_decisive(effects)
    if decisive:
        lines.append(f"the step that decides is {decisive.state}: {decisive.reach_probability:.1%} of the sessions get "
                     f"there, {decisive.removal_effect:.1%} of the purchases go through it (95 %: "
                     f"{decisive.excess_low:+.1%} to {decisive.excess_high:+.1%})")
    return Summary(rows=rows, lines=lines, next="./spark-submit.sh report")


if __name__ == "__main__":
    main("analyze", run)
