"""The commands of the `megatron-music` program."""

import os
from typing import Annotated

import typer

from megatron_music import __version__
from megatron_music.cli import (
    data,
    doctor,
    evaluate,
    export,
    profile,
    render,
    sample,
    show,
    studio,
    tokens,
    train,
)
from megatron_music.train.launcher import ignore_launcher

NAME = "megatron-music"

app = typer.Typer(
    name=NAME,
    help="MIDI in, Megatron-trained composer out.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"megatron-music {__version__}")
        raise typer.Exit


@app.callback()
def common(
    context: typer.Context,
    debug: Annotated[
        bool,
        typer.Option(
            "--debug", help="Show the traceback of an error.", envvar="MEGATRON_MUSIC_DEBUG"
        ),
    ] = False,
    version: Annotated[  # noqa: ARG001  (its callback acts on it)
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """MIDI in, Megatron-trained composer out."""
    if debug:
        os.environ["MEGATRON_MUSIC_DEBUG"] = "1"
    # Pods of a training job have a launcher's variables in every shell: other commands must not
    # take them for ranks to wait for.
    if context.invoked_subcommand != "train":
        ignore_launcher()


app.command("doctor")(doctor.doctor)


@app.command("compile")
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


app.add_typer(data.app, name="data")
app.command("encode")(tokens.encode)
app.command("decode")(tokens.decode)
app.command("train")(train.train)
app.command("export")(export.export)
app.command("sample")(sample.sample)
app.command("compose", help="The same as sample.")(sample.sample)
app.command("evaluate")(evaluate.evaluate)
app.command("rank")(evaluate.rank)
app.command("render")(render.render)
app.command("studio")(studio.studio)
app.add_typer(profile.app, name="profile")
