"""Ctrl-C is answered at once, however long compiled code keeps the main thread."""

import signal
import subprocess
import sys
import time

BUSY = """
import hashlib, sys
from megatron_music.train.signals import StopRequest
with StopRequest(lambda text: print(text, flush=True)) as stop:
    print("begun", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 60_000_000)  # tens of seconds outside of Python
"""


def test_the_first_is_answered_and_the_second_ends_the_process_within_seconds() -> None:
    process = subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    began_s = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert "Ctrl-C again ends at once" in process.stdout.readline()
    assert time.monotonic() - began_s < 2
    time.sleep(1.2)
    process.send_signal(signal.SIGINT)
    assert "the last checkpoint stays" in process.stdout.readline()
    assert process.wait(timeout=5) == 130
