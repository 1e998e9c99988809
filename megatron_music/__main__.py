"""`python -m megatron_music` is `megatron-music`: what torchrun starts."""

import os
import sys

try:
    from megatron_music.cli.main import run
except KeyboardInterrupt:
    # torchrun sends Ctrl-C to ranks that are still loading: the first reports it, as `run` does.
    if os.environ.get("RANK", "0") == "0":
        print("interrupted", file=sys.stderr)
    sys.exit(130)

if __name__ == "__main__":
    run()
