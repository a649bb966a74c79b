"""Every analysis, in the order in which the report shows them and `analyze` runs them; and every table there is."""

from __future__ import annotations

from purchasepath.analyses import (
    books,
    bots,
    calibration,
    channels,
    days,
    first_steps,
    funnel,
    headline,
    metrics,
    paths,
    recommendations,
    rejections,
    removal_effects,
    scores,
    training_curves,
    transitions,
)
from purchasepath.analyses.analysis import Analysis
from purchasepath.config import Analyze
from purchasepath.report.panels import Report, Section
from purchasepath.tables.catalog import TABLES
from purchasepath.tables.types import Table

_SECTIONS: tuple[tuple[str, str, tuple[Analysis, ...]], ...] = (
    ("visits", "Visits", (days.ANALYSIS,)),
    ("funnel", "Funnel", (funnel.ANALYSIS,)),
    ("paths", "Paths to a purchase", (
        first_steps.ANALYSIS, transitions.ANALYSIS, removal_effects.ANALYSIS, paths.ANALYSIS, channels.ANALYSIS)),
    ("model", "Model against baselines", (metrics.ANALYSIS, calibration.ANALYSIS, training_curves.ANALYSIS)),
    ("scores", "Scores and recommendations", (scores.ANALYSIS, recommendations.ANALYSIS)),
    ("quality", "Data quality", (books.ANALYSIS, rejections.ANALYSIS, bots.ANALYSIS)),
)

ANALYSES: tuple[Analysis, ...] = (headline.ANALYSIS, *(a for *_, analyses in _SECTIONS for a in analyses))
"""An analysis may read the tables of those before it."""

REPORT = Report(
    headline.ANALYSIS.panels[0],
    tuple(Section(name, title, tuple(panel for a in analyses for panel in a.panels))
          for name, title, analyses in _SECTIONS),
    source=books.QUERY,
)

ALL_TABLES: tuple[Table, ...] = (*TABLES, *(table for a in ANALYSES for table in a.tables))
"""Every table of the warehouse."""


def check_knobs(config: Analyze) -> None:
    """Raise ConfigError where an analysis cannot be made with these."""
    for analysis in ANALYSES:
        analysis.check(config)
