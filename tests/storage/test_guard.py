"""What `sql` refuses, whatever its form, and what it answers."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from jobs.sql import refuse_key
from purchasepath.analyses.catalog import ALL_TABLES, REPORT
from purchasepath.config import load_config
from purchasepath.errors import UserError
from purchasepath.storage import open_warehouse
from purchasepath.storage.allowed import EXPRESSIONS_PACKAGE, FUNCTIONS, RESOLVED
from purchasepath.storage.guard import Guard, QueryError
from purchasepath.storage.query import run_query

Ask = Callable[..., str]
SECRET = "anna-the-visitor"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("guarded")


@pytest.fixture(scope="module")
def ask(spark: SparkSession, place: Path) -> Iterator[Ask]:
    (place / "secret.txt").write_text(SECRET)
    warehouse = open_warehouse(spark, load_config([], [f"paths.warehouse={place / 'warehouse'}"]))
    with warehouse.transaction("r1") as tx:
        for table in ALL_TABLES:
            row = dict.fromkeys(table.secret, SECRET)
            tx.write(table, table.frame(spark, [] if table.partition_by else [row]))

    def on(query: str, style: str = "csv") -> str:
        out = io.StringIO()
        run_query(spark, warehouse, query, style, out, ALL_TABLES)
        return out.getvalue()

    yield on
    spark.sql("USE default")
    spark.sql(f"DROP DATABASE IF EXISTS {warehouse.database} CASCADE")


ATTACKS = """
select * from text.`{place}/secret.txt`
select * from binaryFile.`{place}/secret.txt`
select * from parquet.`{place}/warehouse/data/user_keys/000001`
select (select max(value) from text.`{place}/secret.txt`)
select 1 where exists (select * from text.`{place}/secret.txt`)
select 1 in (select value from text.`{place}/secret.txt`)
with x as (select * from text.`{place}/secret.txt`) select * from x
select * from paths, lateral (select * from text.`{place}/secret.txt`)
select 1 union all select value from text.`{place}/secret.txt`
select * from identifier('text.`{place}/secret.txt`')
explain select * from text.`{place}/secret.txt`
select * from paths with ('path' = '{place}')
select * from paths version as of 1
table user_keys
select * from USER_KEYS
select raw_id from purchasepath.user_keys
select raw_id from spark_catalog.purchasepath.user_keys
with user_keys as (select * from purchasepath.user_keys) select * from user_keys
select * from (with a as (select * from user_keys) select * from a)
select raw from rejected_events
select * from purchasepath.rejected_events
select rejected_events.* except (file), raw from rejected_events
select _metadata.file_path from paths
describe user_keys
select * from global_temp.rejected_events
select reflect('java.lang.System', 'getenv', 'HOME')
select java_method('java.lang.System', 'getProperty', 'user.home')
select try_reflect('java.lang.System', 'getenv', 'HOME')
select 1 where reflect('java.lang.System', 'getenv', 'HOME') is null
select max(1) over (order by reflect('java.lang.System', 'getenv', 'HOME'))
select transform(array('HOME'), x -> reflect('java.lang.System', 'getenv', x))
select * from values (reflect('java.lang.System', 'getenv', 'HOME'))
select * from range(length(reflect('java.lang.System', 'getenv', 'HOME')))
select * from paths lateral view explode(array(reflect('java.lang.System', 'getenv', 'HOME'))) as x
select 1 limit length(reflect('java.lang.System', 'getenv', 'HOME'))
select system.builtin.reflect('java.lang.System', 'getenv', 'HOME')
select input_file_name() from paths
select current_user()
select current_catalog(), version()
select xpath_string('<a>1</a>', 'a')
select from_xml('<a>1</a>', 'a int')
select from_avro(X'00', '"int"')
select nobody.knows(1)
select * from python_worker_logs()
select * from read_files('{place}')
select transform(path) using 'cat' as (x) from paths
from paths select transform(path) using 'id' as (x)
map path using 'cat' as (x) from paths
drop table paths
insert into paths select * from paths
with x as (select * from paths) insert into paths select * from x
with x as (select * from paths) insert overwrite table paths select * from x
from paths insert into paths select *
from paths insert overwrite table paths select * where false insert into paths select *
insert overwrite directory '{place}/out' using csv select 1
insert overwrite local directory '{place}/out' select 1
truncate table paths
delete from paths
update paths set path = ''
merge into paths using paths p on false when not matched then insert *
create table x (a int)
create table x as select 1
create temporary view x as select 1
create or replace temporary function f as 'java.lang.Object'
create function f as 'x' using jar '{place}/x.jar'
alter table paths rename to x
add jar '{place}/x.jar'
add file '{place}/secret.txt'
list files
set spark.sql.variable.substitute=true
set
reset
set var x = 1
use default
refresh table paths
refresh '{place}'
cache table paths
uncache table paths
clear cache
analyze table paths compute statistics
load data inpath '{place}' into table paths
msck repair table paths
show functions
show create table user_keys
show databases
show tables in default
describe function reflect
describe query select 1
explain insert into paths select * from paths
execute immediate 'select 1'
declare variable x int
call something()
begin select 1; end
select 1; select 2
!ls
"""


@pytest.mark.parametrize("attack", ATTACKS.strip().splitlines())
def test_whatever_is_not_a_read_of_shown_tables_is_refused(ask: Ask, place: Path, attack: str) -> None:
    with pytest.raises(QueryError) as refused:
        ask(attack.replace("{place}", str(place)))
    assert SECRET not in str(refused.value)
    assert not (place / "out").exists()


def test_a_query_is_never_filled_in_from_the_environment(ask: Ask) -> None:
    assert ask("select '${env:HOME}', '${system:user.home}', '${spark.app.name}'").splitlines()[1:] == [
        "${env:HOME},${system:user.home},${spark.app.name}"]


def test_a_refusal_names_what_was_refused_and_what_is_answered(ask: Ask) -> None:
    with pytest.raises(QueryError, match=r"^the function `reflect` is refused\. `sql` answers SELECT over .*EXPLAIN"):
        ask("select reflect('java.lang.System', 'exit', 1)")
    with pytest.raises(QueryError, match=r"^insert into statement is refused\. `sql` answers SELECT"):
        ask("with x as (select 1) insert into paths select * from x")
    with pytest.raises(QueryError, match=r"^`user_keys` is not shown"):
        ask("select count(*) from user_keys")


def test_rejected_rows_are_counted_by_reason_without_their_text(ask: Ask) -> None:
    assert ask("select * from rejected_events").splitlines()[0] == "file,reasons,source"
    assert ask("select count(*) as rows from rejected_events where size(reasons) = 0") == "rows\n1\n"


def test_tables_and_columns_are_told_in_our_words(ask: Ask) -> None:
    told = ask("show tables")
    assert "funnel,funnel step" in told.replace('"', "") or "\nfunnel," in told
    assert "user_keys" not in told
    assert ask("describe table rejected_events").splitlines()[1].startswith("file,string,")
    assert "raw" not in ask("describe rejected_events")


READS = """
select count(*), count(distinct user_id) filter (where num_events > 1) from sessions where session_date >= '2023-01-01'
select * from values (1, 'a'), (abs(-2), 'b') as t(a, b)
select date'2024-01-31' + interval 1 month, timestamp'2024-01-01' - timestamp'2023-01-01', interval 3 days * 2
select extract(year from started_at), date_trunc('hour', started_at) from sessions group by all
select channel, rank() over (partition by channel order by sum(revenue)) from sessions group by rollup (channel)
select * from (select channel, device from sessions) pivot (count(*) for device in ('a', 'b'))
select * from sessions tablesample (10 percent) order by started_at limit 3 offset 1
with a as (select 1 x), b as (select x + 1 y from a) select (select max(y) from b), exists (select 1 from a) from a
select user_id from sessions s left join scores on entity_id = user_id where s.channel in (select channel from channels)
select inline(arrays_zip(event_types, item_ids)) from sessions
select path like any ('%cart%', 'view'), path rlike 'x', path not between 'a' and 'b' from paths
select a.b, m['k'], xs[0] from (select named_struct('b', 1) a, map('k', 2) m, array(3) xs)
select step, sessions from funnel intersect select step, sessions from funnel except select 'x', 1
select /*+ broadcast(paths) */ count(*) from paths join funnel on true
select window(started_at, '1 day').start, count(*) from sessions group by 1
select max(path) over w from paths window w as (order by sessions rows between 1 preceding and current row)
select * from range(3) r, lateral (select r.id * 2)
select case when sessions > 1 then 'x' else path end, cast(sessions as string) from paths
select aggregate(array(1, 2), 0, (acc, x) -> acc + x), filter(array(1), (x, i) -> i = 0)
from paths select path where sessions > 0 sort by path
select * from purchasepath.funnel
explain select count(*) from events
(select 1)
"""


@pytest.mark.parametrize("query", READS.strip().splitlines())
def test_reads_are_answered(ask: Ask, query: str) -> None:
    assert ask(query)


def test_queries_of_the_report_and_of_the_pages_are_answered(ask: Ask) -> None:
    root = Path(__file__).parents[2]
    pages = [root / "README.md", *root.glob("docs/**/*.md"), root / "environment/stages.txt", *root.glob("jobs/*.py"),
             root / "lib/purchasepath/pipeline.py"]
    shown = [query for page in pages for query in re.findall(r'(?<=[\s("\'])sql "(select[^"]+)"', page.read_text())]
    assert len(shown) >= 3
    for query in [*(query.sql for query in REPORT.queries), *shown]:
        assert ask(query)


@pytest.mark.slow
def test_functions_are_answered_or_refused_with_all_their_examples(spark: SparkSession) -> None:
    """Spark documents each of its functions by queries: those of refused functions are refused, all others are not."""
    jvm: Any = spark._jvm
    session: Any = spark._jsparkSession
    guard = Guard(spark, "nowhere", {}, [], [])
    listed = jvm.org.apache.spark.sql.catalyst.analysis.FunctionRegistry.expressions()
    names = listed.keys().toSeq()
    wrong = []
    for name in sorted(names.apply(i) for i in range(names.size())):
        info = listed.get(name).get()._1()
        allowed = info.getClassName().rpartition(".")[2] in FUNCTIONS | RESOLVED
        if not allowed and info.getClassName().startswith(EXPRESSIONS_PACKAGE):
            REFUSED.add(name)
        for query in re.findall(r">\s*(SELECT _FUNC_[^;]*);", info.getExamples()):
            text = query.replace("_FUNC_", name)
            parsed = session.sessionState().sqlParser().parsePlan(text)
            try:
                guard.check_parsed(parsed)
                rows = jvm.org.apache.spark.sql.classic.Dataset.ofRows(session, parsed)
                guard.check_analysed(rows.queryExecution().analyzed())
            except QueryError as error:
                if allowed and not any(f"`{other}`" in str(error) for other in REFUSED):
                    wrong.append((text, str(error)))
            except Exception:  # an example for a setting that is not ours
                continue
            else:
                if not allowed:
                    wrong.append((text, "answered"))
    assert wrong == []
    assert {"reflect", "java_method", "input_file_name", "current_user", "xpath"} <= REFUSED


REFUSED: set[str] = set()


def test_json_lines_are_what_any_parser_takes(ask: Ask) -> None:
    def strict(line: str) -> Any:
        return json.loads(line, parse_constant=lambda word: pytest.fail(word))

    query = """select double('nan') as nan, float('-inf') as inf, map(date'2024-01-02', array(double('inf'))) as m,
               X'ff00' as b, timestamp'10000-01-01 00:00:00.5' as t, date'0000-12-31' as d, null as n,
               interval 1 month as i, 1.50BD as x, 'ä"' as s,
               named_struct('t', timestamp'2024-01-01') as nested"""
    assert strict(ask(query, "json")) == {
        "nan": "NaN", "inf": "-Infinity", "m": {"2024-01-02": ["Infinity"]}, "b": "/wA=",
        "t": "+10000-01-01T00:00:00.5Z", "d": "0000-12-31", "n": None, "i": "INTERVAL '1' MONTH", "x": 1.5,
        "s": 'ä"', "nested": {"t": "2024-01-01T00:00:00Z"}}
    with pytest.raises(UserError, match="several columns are named a"):
        ask("select 1 as a, 2 as a", "json")


@pytest.mark.parametrize("style", ["csv", "table"])
def test_times_that_python_has_not_are_printed(ask: Ask, style: str) -> None:
    text = ask("select timestamp'10000-01-01' as t, date'-0001-12-31' as d, array(date'10000-01-01') as a", style)
    for value in ("+10000-01-01", "-0001-12-31", "[", "+10000-01-01"):
        assert value in text


def test_a_process_that_holds_the_key_answers_nothing(spark: SparkSession) -> None:
    refuse_key(spark, "PURCHASEPATH_KEY_THAT_NOBODY_SET")
    with pytest.raises(UserError, match=r"must not hold the pseudonym key.*env -u PATH \./spark-submit\.sh sql"):
        refuse_key(spark, "PATH")
