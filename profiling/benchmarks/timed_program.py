"""The command as a person runs it, its start included: `python timed_program.py FOLDER OUT REPEAT`.

One worker. The kernels have been compiled before, as after the first build ever on a machine.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path


def main() -> None:
    folder, output = Path(sys.argv[1]), Path(sys.argv[2])
    command = [sys.executable, "-m", "megatron_music", "data", "build", str(folder)]
    runs = []
    for _ in range(int(sys.argv[3])):
        shutil.rmtree(output, ignore_errors=True)
        start = time.perf_counter()
        with subprocess.Popen(
            [*command, "-o", str(output), "--workers", "1", "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as started:
            told = started.stdout.read() if started.stdout else ""
            _, status, usage = os.wait4(started.pid, 0)
            wall_s = time.perf_counter() - start
            started.returncode = os.waitstatus_to_exitcode(status)
        if status:
            sys.exit("the build failed")
        inputs = json.loads(told)["inputs"]
        cpu_s = usage.ru_utime + usage.ru_stime
        runs.append({"wall_s": wall_s, "cpu_s": cpu_s, "files": inputs["total"]})
    print(json.dumps(min(runs, key=lambda run: run["cpu_s"])))


if __name__ == "__main__":
    main()
