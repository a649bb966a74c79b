"""Tables of the analyses: funnel, transitions, what each step and channel is worth, paths."""

from __future__ import annotations

from purchasepath.tables.types import Column as C
from purchasepath.tables.types import Table

FUNNEL = Table(
    "funnel",
    "dimension value and funnel step",
    "analyze",
    (
        C("dimension", "string", "all, channel, price_band or device"),
        C("value", "string", "value of the dimension"),
        C("step_number", "int", "1 for the first step"),
        C("step", "string", "event type of the step"),
        C("sessions", "bigint", "sessions that reached this step after all steps before it, in order"),
        C("share_of_first", "double", "sessions / sessions of step 1"),
        C("drop_off", "double", "share of the previous step's sessions that did not get here; 0 for step 1"),
    ),
    key=("dimension", "value", "step_number"),
)

TRANSITIONS = Table(
    "transitions",
    "pair of path states",
    "analyze",
    (
        C("from_state", "string", "start, or an event type"),
        C("to_state", "string", "an event type, purchase (absorbing) or leave (absorbing)"),
        C("transitions", "bigint", "times the pair was seen in sessions"),
        C("probability", "double", "transitions / all transitions out of from_state"),
        C("median_seconds", "double", "median seconds between the two events; null to leave", nullable=True),
    ),
    key=("from_state", "to_state"),
)

REMOVAL_EFFECTS = Table(
    "removal_effects",
    "path state",
    "analyze",
    (
        C("state", "string", "event type"),
        C("reach_probability", "double", "probability that a session ever gets to the state"),
        C("conversion_probability", "double", "probability of a purchase from the state on"),
        C("removal_effect", "double", "share of purchases lost if every path ended at the state"),
        C("excess_low", "double", "lower end of the 95 % interval of removal_effect - reach_probability, from "
                                  "resampling visitors; null where it hangs on too few", nullable=True),
        C("excess_high", "double", "upper end", nullable=True),
    ),
    key=("state",),
)

PATHS = Table(
    "paths",
    "path of event types (consecutive repeats collapsed)",
    "analyze",
    (
        C("path", "string", "states joined by ' > '"),
        C("length", "int", "states on the path"),
        C("sessions", "bigint", "sessions that walked it"),
        C("purchases", "bigint", "sessions among them with a purchase"),
        C("revenue", "double", "their revenue"),
        C("median_duration_s", "double", "median seconds from first to last event"),
    ),
    key=("path",),
)

CHANNELS = Table(
    "channels",
    "channel",
    "analyze",
    (
        C("channel", "string", "channel of sessions; unknown where the events do not say, other for rare ones"),
        C("journeys", "bigint", "journeys that touch it; a journey is a visitor's sessions up to and including one "
                                "with a purchase, and once more those after the last purchase"),
        C("first_touch", "double", "conversions of journeys that began with it"),
        C("last_touch", "double", "conversions in a session that came by it"),
        C("linear_touch", "double", "conversions shared equally among the sessions of their journey"),
        C("removal_effect", "double", "share of conversions lost if every journey ended at it"),
        C("markov", "double", "conversions shared in proportion to the removal effects"),
    ),
    key=("channel",),
)
