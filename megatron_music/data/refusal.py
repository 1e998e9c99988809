"""Why a piece is left out of a data set."""

from megatron_music.errors import InputError


class Refusal(InputError):  # noqa: N818 (an outcome among others, not a fault)
    """A piece that is left out; `reason` is the word that it is counted by.

    | reason      | the piece                                                    |
    |-------------|--------------------------------------------------------------|
    | unreadable  | cannot be read: missing, damaged, absurd, without notes      |
    | large       | is beyond the limits on bytes, notes or bars                 |
    | metre       | is not 4/4 throughout                                        |
    | parts       | is a chorale of other than four parts                        |
    | barlines    | is a chorale whose bars do not fall on the grid of its metre |
    | duplicate   | is the music of another, at whatever pitch                   |
    | memory      | took more memory than a piece may                            |
    | crashed     | ended the process that read it, or took too long             |
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
