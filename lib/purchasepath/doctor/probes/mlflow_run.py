"""an MLflow run
logged to SQLite and read back
run: make setup; if that does not help, move var/mlflow.db aside"""

from __future__ import annotations

import json

import mlflow

mlflow.set_tracking_uri("sqlite:///probe.db")
with mlflow.start_run() as run:
    mlflow.log_metric("answer", 42.0)
read = mlflow.get_run(run.info.run_id).data.metrics
if read != {"answer": 42.0}:
    raise SystemExit(f"one metric logged, {read} read")
print(json.dumps({"found": "one metric, there and back"}))
