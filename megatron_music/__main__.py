"""`python -m megatron_music` is `megatron-music`: what torchrun starts."""

from megatron_music.cli.main import run

if __name__ == "__main__":
    run()
