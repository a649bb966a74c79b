"""GPU
optional; used where present
install the CUDA build of torch, then: HOROVOD_GPU_OPERATIONS=NCCL make setup"""

from __future__ import annotations

import json
import shutil
import subprocess

import torch

answer: dict[str, object]
driver = shutil.which("nvidia-smi")
built = f"torch for CUDA {torch.version.cuda}" if torch.version.cuda else "torch for CPUs"
if torch.cuda.is_available():
    answer = {"found": f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}, {built}"}
elif driver and not subprocess.run([driver, "-L"], capture_output=True, check=False).returncode:
    answer = {"found": f"a GPU that torch cannot use ({built})", "ok": None}
else:
    answer = {"found": f"none, {built}", "ok": None, "remedy": ""}
print(json.dumps(answer))
