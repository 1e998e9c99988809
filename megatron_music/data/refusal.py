"""Why a piece is left out of a data set."""

from megatron_music.errors import InputError


class Refusal(InputError):  # noqa: N818 (an outcome among others, not a fault)
    """A piece that is left out; `reason` is the word that it is counted by.

    | reason         | the piece                                                        |
    |----------------|------------------------------------------------------------------|
    | unreadable     | cannot be opened: gone, no permission, no file                   |
    | empty          | is a file without a byte                                         |
    | foreign        | is not what its name says: a web page, an archive                |
    | damaged        | is cut short, has in it what no MIDI file may have, or cannot be |
    |                | parsed as the notation that its name says                        |
    | timing         | counts no beats: film frames, or no ticks in a quarter note      |
    | format         | holds separate patterns (format 2) instead of tracks of one      |
    |                | piece                                                            |
    | silent         | holds no notes, or none that ever ends                           |
    | large          | is beyond the limits on bytes, notes or bars                     |
    | memory         | took more memory than a piece may                                |
    | crashed        | ended the process that read it, or took too long                 |
    | metre          | has no stretch as long as a window in a metre that is kept, or   |
    |                | notation without a time signature that a bar can have            |
    | parts          | is a chorale of other than four parts                            |
    | barlines       | is a chorale whose bars do not fall on the grid of its metre     |
    | duplicate      | is the music of another, at whatever pitch                       |
    | link           | is a link within an archive                                      |
    | outside        | has a name that leads out of its archive                         |
    | replaced       | has the name of a later member of its archive                    |
    | encrypted      | asks for a password                                              |
    | sparse         | has hardly a note or a single pitch (this and what follows: only |
    |                | with `--quality`, see `data.quality`)                            |
    | off-grid       | has mostly notes that the grid moves                             |
    | atonal         | has notes of no scale                                            |
    | arrhythmic     | has a rhythm that never repeats                                  |
    | near-duplicate | is nearly the music of another                                   |
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
