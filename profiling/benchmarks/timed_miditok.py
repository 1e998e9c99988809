"""MidiTok's MMM and Megatron's own writer: `python timed_miditok.py FOLDER OUTPUT SECONDS`.

Files are taken evenly over the folder until the time is up. A whole file is one document, tokens
are those of MidiTok's MMM over MIDI-like events at 4 steps a quarter, without velocities: the
settings nearest to ours. Its bars are not cut into windows, which would cost it more.
"""

import json
import sys
import time
from importlib import metadata
from pathlib import Path

import numpy as np
import symusic
from made_up import midi_files
from miditok import MMM, TokenizerConfig
from spread import spread


def main() -> None:
    import torch
    from megatron.core.datasets.indexed_dataset import IndexedDatasetBuilder

    output, limit_s = Path(sys.argv[2]), float(sys.argv[3])
    config = TokenizerConfig(
        beat_res={(0, 64): 4},
        base_tokenizer="MIDILike",
        num_velocities=1,
        use_velocities=False,
        use_tempos=False,
        use_programs=True,
    )
    tokenizer = MMM(config)
    files = tokens = 0
    start = time.process_time()
    writer = IndexedDatasetBuilder(f"{output}.bin", dtype=np.uint16)
    for path in spread(midi_files(Path(sys.argv[1]))):
        ids = tokenizer.encode(symusic.Score(path)).ids
        writer.add_document(torch.tensor(ids), [len(ids)])
        files, tokens = files + 1, tokens + len(ids)
        if time.process_time() - start > limit_s:
            break
    writer.finalize(f"{output}.idx")
    seconds = time.process_time() - start
    version = metadata.version("miditok")
    print(json.dumps({"files": files, "cpu_s": seconds, "tokens": tokens, "version": version}))


if __name__ == "__main__":
    main()
