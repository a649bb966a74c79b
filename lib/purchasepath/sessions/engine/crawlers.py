"""Agents of requests that name themselves a program's: crawlers, monitors, link checkers, command lines.

A pattern of the words by which they do, not a list of their names: lists are behind the day they ship. Of the 2,116
agents in github.com/monperrus/crawler-user-agents it knows 81 %, and takes none of the 554 browsers in the tests of
github.com/omrilotan/isbot for one. Who hides is left to the rules of rate and size. Libraries that shops' own apps
send their requests by (okhttp, CFNetwork, Dalvik, Apache-HttpClient) are not in it.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

NAMED = (
    r"(^u?|[^u]|[^c]u)bots?(\b|_|\d)",  # at the end of a word, and not the phones of CUBOT
    "crawl", "spider", "slurp", "scrap(er|y|ing)", "archiver", "fetcher", "indexer",
    "headless", "phantomjs", "selenium", "playwright", "puppeteer",
    "lighthouse", "pagespeed", "pingdom", "uptime", r"monitor(ing)?\b", "validator", "link.?check",
    "facebookexternalhit", "externalagent", "mediapartners-google", "google-inspectiontool", "googleother",
    r"^(curl|wget|java|php|perl|ruby|libwww-perl|lwp|go-http-client|python|httpx|aiohttp|scrapy)\b", r"\bpython-\w+/",
    "https?://",  # crawlers say where to complain, browsers do not
)
PATTERN = f"(?i){'|'.join(NAMED)}"


def find_crawlers(agents: pa.Array) -> pa.Array:
    """True where the agent names itself a crawler, else null: a column without any costs nothing to move.

    Different agents are few, so each is looked at once.
    """
    if agents.null_count == len(agents):
        return pa.nulls(len(agents), pa.bool_())
    words = agents if pa.types.is_dictionary(agents.type) else pc.dictionary_encode(agents)
    named = pc.match_substring_regex(words.dictionary, PATTERN)
    return pc.if_else(named, True, pa.scalar(None, pa.bool_())).take(words.indices)
