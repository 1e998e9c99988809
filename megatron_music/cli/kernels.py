"""`compile`: compile the kernels ahead of time."""

from megatron_music.cli import show


def compile_() -> None:
    """Compile the kernels that read, encode, check and compose music; `make setup` does.

    Else each command compiles what it needs when it is first used. Machine code is kept until an
    update changes a kernel.

    Example: `megatron-music compile`
    """
    from megatron_music.kernels import compile_kernels

    with show.progress("compile", "groups of kernels") as progress:
        compiled = compile_kernels(progress)
    show.log(f"compiled {compiled} functions" if compiled else "all kernels were compiled already")
