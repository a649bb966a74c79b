"""Purchasepath: from an online shop's raw behaviour events to answers about its purchase paths."""

import os
import signal
import threading

__version__ = "0.1.0"

if "PYSPARK_GATEWAY_PORT" in os.environ and threading.current_thread() is threading.main_thread():
    # a driver of spark-submit that is interrupted while it loads has begun nothing; `process` takes over from here
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))
