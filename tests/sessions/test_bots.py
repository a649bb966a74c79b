"""Who counts as a bot: by requests, not by events, and by the agent's own word; and what that takes out."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession

from purchasepath.config import Sessions
from purchasepath.sessions.bots import LeftOut, count_sessions, left_out, measure_bots
from purchasepath.sessions.engine.crawlers import find_crawlers
from purchasepath.sessions.visitors import count_visitors
from purchasepath.tables.catalog import EVENTS, SESSIONS
from tests.sessions.oracle import t
from tests.sessions.test_columns import sessions as cut
from tests.sessions.test_sessionize import event, sessionized

CRAWLERS = (
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; bingbot/2.0) Chrome/116.0.1938.76 Safari/537.36",
    "Mozilla/5.0 (compatible; AhrefsBot/7.0)", "AdsBot-Google (+http://www.google.com/adsbot.html)", "bot",
    "Mozilla/5.0 (compatible; YandexBot/3.0)", "DuckDuckBot/1.0", "ia_archiver", "Yahoo! Slurp",
    "Baiduspider+(+http://www.baidu.com/search/spider.htm)", "Screaming Frog SEO Spider/8.1", "GPTBot", "rubot_2",
    "curl/8.5.0", "Wget/1.21.4", "python-requests/2.32.3", "Python-urllib/3.12", "Go-http-client/2.0", "Java/17.0.2",
    "Scrapy/2.11.0 (+https://scrapy.org)", "Mozilla/5.0 (X11; Linux x86_64) HeadlessChrome/121.0.0.0 Safari/537.36",
    "Mozilla/5.0 (compatible; UptimeRobot/2.0)", "facebookexternalhit/1.1", "Pingdom.com_bot_version_1.4",
)
BROWSERS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4.1 "
    "Mobile/15E148 Safari/604.1 (Ecosia ios@9.2.3.1367)",
    "Mozilla/5.0 (Linux; Android 11; CUBOT KINGKONG 5 Pro) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/99.0.4844.58",
    "Mozilla/5.0 (Linux; Android 10; cubot_X30) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/99.0.4844.58",
    "Mozilla/5.0 (X11; Linux x86_64; rv:149.0) Gecko/20100101 Firefox/149.0",
    "Mozilla/5.0 (compatible; MSIE 9.0; Windows NT 6.1; WOW64; Trident/5.0; Banca Caboto s.p.a.)",
    "Opera/9.70 (Linux armv7l ; U; turbotabbee/TSV2.0/1.02Q; fr) Presto/2.2", "fuboTV/4.75.0 (Linux;Android 9)",
    "Lynx/2.8.9rel.1 libwww-FM/2.14 SSL-MM/1.4.1 GNUTLS/3.6.5", "okhttp/4.12.0", "Dalvik/2.1.0 (Linux; U; Android 14)",
    "OurShop/5.2 CFNetwork/1490.0.4 Darwin/23.2.0", "Apache-HttpClient/UNAVAILABLE (java 1.4)",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148 Instagram 300.0.0.29",
    "", "-",
)


@pytest.mark.parametrize("encoded", [False, True])
def test_crawlers_that_say_so_are_known_and_no_browser_is_taken_for_one(encoded: bool) -> None:
    agents = pa.array([*CRAWLERS, *BROWSERS, None])
    found = find_crawlers(agents.dictionary_encode() if encoded else agents).to_pylist()
    assert [agent for agent, named in zip(CRAWLERS, found, strict=False) if not named] == []
    assert found[len(CRAWLERS):] == [None] * (len(BROWSERS) + 1)


def test_a_source_without_agents_moves_no_column_for_them() -> None:
    assert find_crawlers(pa.nulls(3, pa.string())).null_count == 3
    assert find_crawlers(pa.array(["", None, BROWSERS[0]])).null_count == 3


def flags(events: list[dict[str, Any]], config: Sessions | None = None) -> list[bool]:
    return [row["is_bot"] for row in cut(events, config or Sessions())]


@pytest.mark.parametrize("lines", [120, 2400])
def test_an_order_of_many_lines_is_one_request(lines: int) -> None:
    assert flags([event(n, t(0), event_type="purchase") for n in range(lines)]) == [False]


def test_a_hundred_different_seconds_within_the_window_are_a_bots() -> None:
    events = [event(n, t(0) + timedelta(seconds=n)) for n in range(100)]
    assert flags(events) == [True]
    assert flags(events[1:]) == [False]
    again = [event(100 + n, t(0) + timedelta(seconds=n)) for n in range(99)]  # each second twice: still 99 requests
    assert flags([*events[:99], *again]) == [False]
    assert flags([*events, *again]) == [True]


@pytest.mark.parametrize(("resolution", "flagged"), [(60, 10), (86_400, 0)])
def test_coarse_clocks_show_few_requests(resolution: int, flagged: int) -> None:
    """Ten requests each minute, 1,500 in all, told to the minute or day: by size 10 x 15 minutes are over 14."""
    config = Sessions(gap_minutes=2 * 1440, max_hours=48, max_events=2500, bot_max_events=15)
    at = [t(0) + timedelta(seconds=6 * n // resolution * resolution) for n in range(150)]
    events = [event(1000 * user + n, moment, user_id=f"u{user}") for user in range(10) for n, moment in enumerate(at)]
    assert sum(flags(events, config)) == flagged


def test_size_counts_requests_not_lines() -> None:
    config = Sessions(bot_max_events=5)
    orders = [event(10 * order + n, t(order)) for order in range(4) for n in range(8)]
    assert flags(orders, config) == [False]
    assert flags([*orders, event(99, t(4))], config) == [True]


def test_one_request_by_a_crawler_flags_its_session_and_no_other(spark: SparkSession) -> None:
    events = [event(0, t(0), user_id="a"), event(1, t(1), user_id="a", agent="Seenbot/2.1"),
              event(2, t(90), user_id="a"), event(3, t(0), user_id="b", agent=BROWSERS[0]), event(4, t(0), user_id="c")]
    found = sessionized(EVENTS.frame(spark, events), Sessions())
    assert {(row["user_id"], row["started_at"]): row["is_bot"] for row in found.values()} == {
        ("a", t(0)): True, ("a", t(90)): False, ("b", t(0)): False, ("c", t(0)): False}


def session(user: str, events: int, revenue: float, *, purchases: int = 1, is_bot: bool = False) -> dict[str, Any]:
    return {"session_id": f"{user}{events}{revenue}", "user_id": user, "num_events": events, "revenue": revenue,
            "num_purchases": purchases, "is_bot": is_bot}


def measured(sessions: DataFrame) -> LeftOut:
    return measure_bots(count_sessions(sessions), count_visitors(sessions, 200, share=0.1, least_events=1))


def test_what_is_taken_out_is_told_as_counted_by_hand(spark: SparkSession) -> None:
    rows = [session("shop", 60, 30.0, is_bot=True), session("shop", 10, 20.0), session("ann", 20, 50.0),
            session("bob", 10, 100.0, purchases=3)]
    out = measured(SESSIONS.frame(spark, rows))
    assert out == LeftOut(4, 1, 0.6, 0.15, 0.25, "revenue")
    told, warned = out.lines()
    assert told == ("flagged as bots: 1 of 4 sessions (kept), with 60.0% of events and 15.0% of revenue; their "
                    "visitors have 25.0% of revenue")
    assert warned.startswith("warning: flagged as bots', 15.0% of revenue are left out of funnel and paths, and "
                             "visitors with 25.0% of training; ")
    assert "sessions.bot_events_per_window" in warned
    unpriced = measured(SESSIONS.frame(spark, [row | {"revenue": 0.0} for row in rows]))
    assert (unpriced.value, unpriced.value_of_visitors, unpriced.noun) == (1 / 6, 2 / 6, "purchases")


def test_bots_that_buy_nothing_are_told_without_a_warning(spark: SparkSession) -> None:
    few = [session("crawler", 90, 0.0, purchases=0, is_bot=True), session("ann", 10, 50.0)]
    assert measured(SESSIONS.frame(spark, few)).lines() == [
        "flagged as bots: 1 of 2 sessions (kept), with 90.0% of events and 0.0% of revenue; their visitors have 0.0% "
        "of revenue"]
    assert measured(SESSIONS.frame(spark, few[1:])).lines() == ["flagged as bots: none"]
    assert left_out([], 0.0, 0).lines() == ["flagged as bots: none"]
