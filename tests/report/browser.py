"""Opens a page in a real headless browser, at several widths, and says what it shows there."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")

# Each width is an iframe: a browser window cannot be as narrow as a phone.
WRAPPER = """<!doctype html><body><pre id="answer"></pre><script>
const frames = %(widths)s.map((width) => {
  const frame = document.createElement("iframe");
  frame.style = `border: 0; width: ${width}px; height: 900px`;
  frame.src = "%(page)s";
  return [width, document.body.appendChild(frame)];
});
const describe = ({ contentDocument: page, contentWindow: win }) => ({
  page_width: page.documentElement.clientWidth, content_width: page.documentElement.scrollWidth,
  resources: win.performance.getEntriesByType("resource").map((entry) => entry.name),
  hacked: win.hacked ?? null, injected: page.querySelectorAll("article img, article b").length,
  text: page.querySelector("main").innerText,
  figures: Object.fromEntries([...page.querySelectorAll(".figure")].map((figure) => [figure.id, {
    state: figure.dataset.state ?? "waiting", width: figure.clientWidth,
    drawn_width: Math.max(0, ...[...figure.querySelectorAll(".main-svg")].map((svg) => svg.clientWidth)),
    bars: figure.querySelectorAll(".bars .point, .funnels .point").length,
    lines: figure.querySelectorAll(".scatterlayer .trace").length,
    nodes: figure.querySelectorAll(".sankey-node").length, links: figure.querySelectorAll(".sankey-link").length,
    cells: figure.querySelectorAll(".heatmap-label").length, labels: figure.textContent,
  }])),
});
const isDone = ([, { contentDocument: page }]) => page?.readyState === "complete"
  && page.querySelectorAll(".figure:not([data-state])").length === 0;
const timer = setInterval(() => {
  if (!frames.every(isDone)) return;
  clearInterval(timer);
  const answer = Object.fromEntries(frames.map(([width, frame]) => [width, describe(frame)]));
  document.getElementById("answer").textContent = JSON.stringify(answer);
}, 200);
</script></body>"""


def find_browser() -> str:
    """The browser's command; skips the test where there is none."""
    named = os.environ.get("CHROME_BIN")
    found = named if named and Path(named).exists() else next(filter(None, map(shutil.which, BROWSERS)), None)
    if not found:
        pytest.skip(f"no browser: looked for CHROME_BIN and {', '.join(BROWSERS)}")
    return found


def open_page(page: Path, widths: list[int], scratch: Path) -> dict[int, dict[str, Any]]:
    """What the page shows at each width once its figures are drawn. Fails on any uncaught JavaScript error."""
    wrapper = page.with_name("wrapper.html")
    wrapper.write_text(WRAPPER % {"widths": json.dumps(widths), "page": page.name}, encoding="utf-8")
    run = subprocess.run(
        [find_browser(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
         "--allow-file-access-from-files", "--enable-logging=stderr", f"--user-data-dir={scratch}",
         "--virtual-time-budget=30000", "--window-size=1600,1000", "--dump-dom", wrapper.as_uri()],
        capture_output=True, text=True, timeout=180, check=True)
    errors = [line for line in run.stderr.splitlines() if "Uncaught" in line]
    assert not errors, errors
    answer = re.search(r'<pre id="answer">(.*?)</pre>', run.stdout, re.DOTALL)
    assert answer is not None
    assert answer.group(1), "the figures were not drawn in time"
    return {int(width): shown for width, shown in json.loads(html.unescape(answer.group(1))).items()}
