"""All errors that a user can meet.

Each message is one line: what is wrong and the value, what is allowed, what to do.

MusicError                 the base of all; exit code 1
├── UsageError             a request with a mistake; exit code 2
│   ├── RecipeError        a recipe or an override that does not fit the schema
│   └── LayoutError        a parallel layout that cannot work
├── InputError             a file that cannot be used
│   ├── MusicFileError     a file of music; has a reason such as "damaged"
│   │   ├── MidiError      a MIDI file: missing, damaged, empty, too large
│   │   └── ScoreError     MusicXML, ABC or kern: missing, damaged, empty, too large
│   ├── TokenError         a token sequence that is not legal mmmtrack; has the position
│   ├── DataError          a data set folder: missing, damaged, of another vocabulary
│   └── CheckpointError    a checkpoint or exported model: missing, damaged, of another shape
├── FetchError             a download that failed, or has a wrong hash
├── TrainingError          a run that cannot continue
├── WriteError             an output that cannot be written (disk full, no permission)
├── MissingError           something that has to be installed first
│   └── NoDriverError      a machine without an NVIDIA driver
└── Interrupted            stopped by Ctrl-C; the message says what was saved; exit code 130
"""


class MusicError(Exception):
    """The base of all errors with a message for the user."""

    exit_code = 1


class UsageError(MusicError):
    """A request with a mistake, such as an option that does not exist."""

    exit_code = 2


class RecipeError(UsageError):
    """A recipe or an override that does not fit the schema."""


class LayoutError(UsageError):
    """A parallel layout that cannot work with this model, batch or number of processes."""


class InputError(MusicError):
    """A file that cannot be used."""


class MusicFileError(InputError):
    """A file of music that cannot be used.

    `reason` is a word such as "damaged", by which a data set counts the files it leaves out.
    """

    def __init__(self, message: str, reason: str = "damaged") -> None:
        super().__init__(message)
        self.reason = reason


class MidiError(MusicFileError):
    """A MIDI file that is missing, damaged, empty or too large."""


class ScoreError(MusicFileError):
    """A file of MusicXML, ABC or Humdrum kern that is missing, damaged, empty or too large."""


class TokenError(InputError):
    """A token sequence that is not legal mmmtrack.

    `position` is the index of the first offending token, counted from 0; `reason` says what is
    wrong with it.
    """

    def __init__(self, message: str, position: int) -> None:
        super().__init__(f"token {position}: {message}")
        self.reason = message
        self.position = position


class DataError(InputError):
    """A data set folder that is missing, damaged or of another vocabulary."""


class CheckpointError(InputError):
    """A checkpoint or an exported model that is missing, damaged or of another shape."""


class FetchError(MusicError):
    """A download that failed, or has a wrong hash."""


class TrainingError(MusicError):
    """A training run that cannot continue."""


class WriteError(MusicError):
    """An output that cannot be written."""


class MissingError(MusicError):
    """A package or program that has to be installed first."""


class NoDriverError(MissingError):
    """There is no NVIDIA driver on this machine."""


class Interrupted(MusicError):  # noqa: N818 (not an error)
    """The program was stopped by Ctrl-C; the message says what was saved."""

    exit_code = 130
