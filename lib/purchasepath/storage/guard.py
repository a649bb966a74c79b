"""What `sql` answers: queries of shown tables, with functions that only compute, decided by the classes of the plan.

A query is looked at twice. As it was parsed, before any name is looked up: Spark runs some commands, and evaluates
some arguments, while it analyses. And as it was analysed: whatever the names have come to mean. What Spark then runs
is the plan that was looked at, never the text again.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from py4j.java_gateway import is_instance_of
from pyspark.sql import SparkSession

from purchasepath.errors import UserError, nearest
from purchasepath.storage.allowed import (
    ANALYSIS_PACKAGE,
    EXPRESSIONS_PACKAGE,
    FUNCTIONS,
    PLANS,
    PLANS_PACKAGE,
    RESOLVED,
)

ANSWERED = "`sql` answers SELECT over the warehouse's tables with Spark's functions of values, SHOW TABLES, " \
           "DESCRIBE <table> and EXPLAIN <query>"
_SUBQUERIES = ("Exists", "LateralSubquery", "ListQuery", "ScalarSubquery")


class QueryError(UserError):
    """A query that cannot be answered."""


class _Part(NamedTuple):
    """One node of a plan, its class and all its expressions, those within others too."""

    node: Any
    kind: str
    expressions: list[Any]


class Guard:
    """Refuses, with a QueryError that names it, whatever is not a read of the `shown` tables (name -> columns).

    `views`: those of them that stand in the session as temporary views of ours; `hidden`: tables that are there, but
    are not shown.
    """

    def __init__(self, spark: SparkSession, database: str, shown: Mapping[str, Collection[str]],
                 views: Collection[str], hidden: Collection[str]) -> None:
        self.database = database
        self.shown, self.views, self.hidden = shown, views, hidden
        self._gateway: Any = spark.sparkContext._gateway
        names: Any = spark._jvm.org.apache.spark.sql.catalyst.analysis  # type: ignore[union-attr]
        self._functions = names.FunctionRegistry.expressions()
        self._table_functions = names.TableFunctionRegistry.logicalPlans()

    def check_parsed(self, plan: Any) -> None:
        """Raise QueryError unless analysing the parsed `plan` does nothing, and may find nothing but shown tables."""
        parts = self._parts(plan)
        known = {name.lower() for name in self.shown}
        known |= {cte._1().lower() for part in parts if part.kind.endswith(".UnresolvedWith")
                  for cte in _items(part.node.cteRelations())}
        for node, kind, expressions in parts:
            if kind == f"{ANALYSIS_PACKAGE}UnresolvedRelation":
                self._check_name(node, known)
            elif kind == f"{ANALYSIS_PACKAGE}UnresolvedTableValuedFunction":
                self._check_function(_strings(node.name()), self._table_functions)
            else:
                _check_class(kind, PLANS)
            self._check_expressions(expressions)

    def check_analysed(self, plan: Any) -> None:
        """Raise QueryError unless the analysed `plan` reads nothing but shown columns of shown tables."""
        for node, kind, expressions in self._parts(plan):
            if kind == f"{PLANS_PACKAGE}View":
                self._check_view(node)
            elif kind.endswith((".LogicalRelation", ".HiveTableRelation")):
                self._check_stored(node, kind)
            else:
                _check_class(kind, PLANS)
            self._check_expressions(expressions)

    def _check_name(self, relation: Any, known: Collection[str]) -> None:
        """Before the name is looked up."""
        *place, name = _strings(relation.multipartIdentifier())
        if [part.lower() for part in place] not in ([], [self.database.lower()]) or (place and name in self.views):
            raise _refused(f"`{'.'.join([*place, name])}`, which is none of the warehouse's tables,")
        if name.lower() in self.hidden:
            raise QueryError(f"`{name}` is not shown: it holds what is its owner's alone. {ANSWERED}")
        if name.lower() not in known:
            raise QueryError(f"there is no table `{name}`{nearest(name, self.shown)}" if self.shown else
                             f"there is no table `{name}`: the warehouse is empty; fill it first: "
                             "./spark-submit.sh pipeline")
        if relation.isStreaming() or not relation.options().isEmpty():
            raise _refused(f"the table `{name}` with options")

    def _check_stored(self, relation: Any, kind: str) -> None:
        """After the name was looked up."""
        if kind.endswith(".HiveTableRelation"):
            table = relation.tableMeta()
        else:
            table = relation.catalogTable().get() if relation.catalogTable().isDefined() else None
        place = table.identifier() if table is not None else None
        name = place.table() if place is not None else "a path"
        database = place.database().get() if place is not None and place.database().isDefined() else ""
        if database.lower() != self.database.lower() or name not in self.shown or name in self.views:
            raise _refused(f"`{name}`, which is none of the warehouse's tables,")
        if more := {column.name() for column in _items(relation.output())} - set(self.shown[name]):
            raise _refused(f"`{', '.join(sorted(more))}`, which is no column of `{name}`,")

    def _check_view(self, view: Any) -> None:
        if not view.isTempView() or view.desc().identifier().table() not in self.views:
            raise _refused(f"the view `{view.desc().identifier().unquotedString()}`")

    def _check_expressions(self, expressions: Collection[Any]) -> None:
        for expression in expressions:
            kind = _name(expression)
            _check_class(kind, FUNCTIONS | RESOLVED)
            if kind == f"{ANALYSIS_PACKAGE}UnresolvedFunction":
                self._check_function(_strings(expression.nameParts()), self._functions)
            elif kind == f"{ANALYSIS_PACKAGE}UnresolvedGenerator":
                self._check_function(expression.name().unquotedString().split("."), self._functions)

    def _check_function(self, parts: list[str], registry: Any) -> None:
        name = ".".join(parts)
        found = registry.get(name.lower())
        if not found.isDefined():
            raise QueryError(f"there is no function `{name}` among Spark's own. {ANSWERED}")
        if _short(found.get()._1().getClassName()) not in FUNCTIONS | RESOLVED | {"Range"}:
            raise _refused(f"the function `{name}`")

    def _parts(self, plan: Any) -> list[_Part]:
        """`plan`, all below it, and all in the subqueries of its expressions; not what lies below a view."""
        parts, waiting = [], [plan]
        while waiting:
            node = waiting.pop()
            part = _Part(node, _name(node), self._expressions(node))
            parts.append(part)
            if part.kind == f"{PLANS_PACKAGE}View":
                continue
            if part.kind.endswith(".UnresolvedWith"):
                waiting += [cte._2() for cte in _items(node.cteRelations())]
            waiting += _items(node.children())
            waiting += [e.plan() for e in part.expressions if _short(_name(e)) in _SUBQUERIES]
        return parts

    def _expressions(self, plan: Any) -> list[Any]:
        found, waiting = [], _items(plan.expressions())
        while waiting:
            expression = waiting.pop()
            found.append(expression)
            # a function that Spark replaces by others is known by what it was given, not by what takes its place
            replaced = is_instance_of(self._gateway, expression, f"{EXPRESSIONS_PACKAGE}InheritAnalysisRules")
            waiting += _items(expression.parameters() if replaced else expression.children())
        return found


def _refused(what: str) -> QueryError:
    return QueryError(f"{what} is refused. {ANSWERED}")


def _check_class(name: str, allowed: Collection[str]) -> None:
    known = name.startswith((EXPRESSIONS_PACKAGE, ANALYSIS_PACKAGE, PLANS_PACKAGE)) and _short(name) in allowed
    if not known:  # InsertIntoStatement: insert into statement
        raise _refused(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", _short(name).removeprefix("Unresolved").strip("$")).lower())


def _name(java: Any) -> str:
    return str(java.getClass().getName())


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def _items(sequence: Any) -> list[Any]:
    return [sequence.apply(i) for i in range(sequence.size())]


def _strings(sequence: Any) -> list[str]:
    return [str(item) for item in _items(sequence)]
