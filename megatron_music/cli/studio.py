"""`studio`: a page on which people compose, listen and vote."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from megatron_music.cli import show
from megatron_music.errors import MissingError, UsageError


def studio(
    models: Annotated[
        list[Path] | None,
        Argument(
            help="Folders that export wrote; else the newest under runs/, or the small model for "
            "chorales that comes with the program.",
            metavar="HFDIR...",
        ),
    ] = None,
    folder: Annotated[
        Path, Option(help="Where songs, votes and versions are kept.", metavar="DIR")
    ] = Path("studio"),
    host: Annotated[
        str, Option(help="The address to listen on; any but 127.0.0.1 needs --share-token.")
    ] = "127.0.0.1",
    port: Annotated[int, Option(min=1, max=65535)] = 8000,
    share_token: Annotated[
        str | None,
        Option(
            help="Let in only who has this token: share http://HOST:PORT/?token=TOKEN.",
            envvar="MEGATRON_MUSIC_SHARE_TOKEN",
        ),
    ] = None,
) -> None:
    """Serve a page to compose, listen and vote, on 127.0.0.1:8000.

    Example: `megatron-music studio runs/bach-tiny/hf --port 8000`
    """
    # On any other address the page can be reached from other machines.
    if host not in ("127.0.0.1", "localhost", "::1") and share_token is None:
        raise UsageError(
            f"--host {host} lets others in; give --share-token WORD, which their link has to carry"
        )
    if share_token is not None and len(share_token) < MIN_TOKEN:
        raise UsageError(f"--share-token must have {MIN_TOKEN} characters or more")
    try:
        from megatron_music.studio.server import serve
    except ModuleNotFoundError as fault:
        raise MissingError(
            f"the studio needs {fault.name}; install it: pip install 'megatron-music[studio]'"
        ) from fault
    serve(models or [], folder, host, port, share_token, show.log)


MIN_TOKEN = 8
"""Characters of a token: fewer are guessed."""
