"""a Petastorm read
every row of a Parquet file, once
run: make setup"""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from petastorm import make_batch_reader

file = Path("numbers.parquet").resolve()
pq.write_table(pa.table({"number": list(range(1000))}), file, row_group_size=100)
with make_batch_reader(file.as_uri(), workers_count=2, num_epochs=1) as reader:
    read = sorted(int(n) for batch in reader for n in batch.number)
if read != list(range(1000)):
    raise SystemExit(f"1000 rows written, {len(read)} read")
print(json.dumps({"found": "1,000 rows in 10 row groups"}))
