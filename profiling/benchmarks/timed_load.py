"""symusic's bare loading of the files in a folder: `python timed_load.py FOLDER REPEAT`."""

import json
import sys
import time
from pathlib import Path

import symusic
from made_up import midi_files


def main() -> None:
    files = [path.read_bytes() for path in midi_files(Path(sys.argv[1]))]
    seconds = []
    for _ in range(int(sys.argv[2])):
        start = time.process_time()
        for raw in files:
            symusic.Score.from_midi(raw)
        seconds.append(time.process_time() - start)
    print(json.dumps({"files": len(files), "cpu_s": min(seconds), "bytes": sum(map(len, files))}))


if __name__ == "__main__":
    main()
