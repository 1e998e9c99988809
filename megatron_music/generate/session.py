"""Work on one piece in Python: begin, continue, fill, vary or harmonise it, and keep a song."""

from pathlib import Path
from typing import Any, Self

from megatron_music.arguments import check_type
from megatron_music.errors import UsageError
from megatron_music.generate.composer import Composer
from megatron_music.generate.midi_patch import write_song
from megatron_music.generate.prompt import Prompt, read_prompt
from megatron_music.generate.song import Song
from megatron_music.generate.song_request import Request, request_of
from megatron_music.score.notes import Piece


class Session:
    """A model and the piece it works on; options are the names of `Request`.

    `Session.load("runs/bach-tiny/hf").compose(count=4, bars=8)`
    """

    def __init__(self, composer: Composer, piece: Piece | None = None) -> None:
        self.composer = composer
        self.prompt = None if piece is None else Prompt.of(piece)

    @property
    def piece(self) -> Piece | None:
        """The piece on the model's grid."""
        return None if self.prompt is None else self.prompt.piece

    @classmethod
    def load(cls, model: str | Path, midi: str | Path | None = None) -> Self:
        """Load an exported folder and, to begin from, a MIDI file.

        Raises CheckpointError and MidiError.
        """
        session = cls(Composer.load(Path(model)))
        return session if midi is None else session.keep(Path(midi))

    def keep(self, piece: Song | Piece | str | Path) -> Self:
        """Work on this piece from now on; returns the session.

        Of a song its notes on the grid are kept; to continue in a song's file, `write` it and keep
        the path. Raises UsageError and MidiError.
        """
        check_type("piece", piece, Song | Piece | str | Path)
        if isinstance(piece, str | Path):
            vocabulary = self.composer.vocabulary
            self.prompt = read_prompt(
                Path(piece), vocabulary.settings.steps_per_quarter, known=vocabulary.metres
            )
        else:
            self.prompt = Prompt.of(piece.piece if isinstance(piece, Song) else piece)
        return self

    def write(self, song: Song, path: str | Path) -> Path:
        """Write a song of this session as MIDI: into its prompt's file where it began from one."""
        check_type("song", song, Song)
        check_type("path", path, str | Path)
        write_song(song, Path(path), self.prompt if song.sources else None)
        return Path(path)

    def compose(self, **options: Any) -> list[Song]:
        """Compose from nothing; raises UsageError for a request that cannot be met."""
        return list(self.composer.compose(request_of(options)))

    def continue_piece(self, **options: Any) -> list[Song]:
        """Continue the piece to `bars`, with `instruments` added and `drop` left out."""
        request = request_of(options)
        if request.fills or request.voice is not None:
            raise UsageError("continue_piece fills nothing; call fill, vary or harmonise")
        return self._work(request)

    def fill(self, **options: Any) -> list[Song]:
        """Compose `fill_bars` of `fill_tracks` anew, the rest untouched."""
        request = request_of(options)
        if not (request.fill_bars or request.fill_tracks):
            raise UsageError("nothing to fill; give `fill_bars`, `fill_tracks` or both")
        return self._work(request)

    def vary(self, share: float = 0.25, **options: Any) -> list[Song]:
        """Compose a share of the bars anew, others in each song."""
        check_type("share", share, float)
        return self._work(request_of({**options, "vary": share}))

    def harmonise(self, voice: str = "", **options: Any) -> list[Song]:
        """Keep one track of the piece and compose all others around it.

        `voice` names it, as "SOPRANO", or "Lead=SOPRANO" to take another track as the soprano;
        without it the only track is kept.
        """
        return self._work(request_of({"voice": voice, **options}))

    def _work(self, request: Request) -> list[Song]:
        if self.prompt is None:
            raise UsageError("there is no piece yet; keep one first")
        roles = request.roles
        prompt = self.prompt.assigned(roles) if roles else self.prompt
        return list(self.composer.compose(request, prompt))
