"""What is installed, what works, and what to do about the rest. Runs on a bare Python, outside Spark."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "lib"))  # also where set-up never finished

from purchasepath.doctor.report import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], ROOT))
