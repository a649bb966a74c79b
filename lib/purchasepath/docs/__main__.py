"""Every page that is written from the code, and what the launcher reads.

    python -m purchasepath.docs [--check]

With --check nothing is written; exit code 2 where a page is not what the code would write.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from purchasepath.docs.pages import stale_pages, write_pages
from purchasepath.docs.writing import ROOT


def main(arguments: Sequence[str]) -> int:
    """Write the pages, or with --check name those that are stale."""
    if "--check" not in arguments:
        write_pages()
        return 0
    stale = stale_pages()
    for path in stale:
        print(f"{path.relative_to(ROOT)} does not say what the code says; run: make docs", file=sys.stderr)
    return 2 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
