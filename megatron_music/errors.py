"""The errors that the program reports to its user.

A message is one line. It says what is wrong, with the value, then what is allowed and what to do.

MusicError                 the base class; exit code 1
├── UsageError             wrong arguments; exit code 2
│   ├── RecipeError        wrong settings in a recipe or an override
│   └── LayoutError        a parallel layout that does not fit the model, batch or processes
├── InputError             a file or folder that cannot be used
│   ├── MusicFileError     a file of music; `reason` is a word such as "damaged"
│   │   ├── MidiError      a MIDI file
│   │   └── ScoreError     a file of MusicXML, ABC or Humdrum kern
│   ├── TokenError         a token sequence that breaks the grammar; `position` says where
│   ├── DataError          a data set that is missing, damaged or has another vocabulary
│   └── CheckpointError    a checkpoint or exported model that is missing, damaged or does not fit
├── FetchError             a download that failed or has a wrong hash
├── TrainingError          a training run that cannot continue
├── WriteError             a file that cannot be written (disk full, no permission)
├── MissingError           a package or program that is not installed
│   └── NoDriverError      no NVIDIA driver
└── Interrupted            Ctrl-C; the message says what was saved; exit code 130
"""


class MusicError(Exception):
    """The base class of all errors here."""

    exit_code = 1


class UsageError(MusicError):
    """Wrong arguments, such as an option that does not exist."""

    exit_code = 2


class RecipeError(UsageError):
    """Wrong settings in a recipe or an override."""


class LayoutError(UsageError):
    """A parallel layout that does not fit the model, the batch or the number of processes."""


class InputError(MusicError):
    """A file or folder that cannot be used."""


class MusicFileError(InputError):
    """A file of music that cannot be used.

    `reason` is a word such as "damaged". `data build` counts the files that it leaves out by it.
    """

    def __init__(self, message: str, reason: str = "damaged") -> None:
        super().__init__(message)
        self.reason = reason


class MidiError(MusicFileError):
    """A MIDI file that is missing, damaged, empty or too large."""


class ScoreError(MusicFileError):
    """A file of MusicXML, ABC or Humdrum kern that is missing, damaged, empty or too large."""


class TokenError(InputError):
    """A token sequence that breaks the grammar.

    `position` is the index of the first wrong token, from 0; `reason` says what is wrong with it.
    """

    def __init__(self, message: str, position: int) -> None:
        super().__init__(f"token {position}: {message}")
        self.reason = message
        self.position = position


class DataError(InputError):
    """A data set that is missing, damaged or has another vocabulary."""


class CheckpointError(InputError):
    """A checkpoint or an exported model that is missing, damaged or does not fit."""


class FetchError(MusicError):
    """A download that failed or has a wrong hash."""


class TrainingError(MusicError):
    """A training run that cannot continue."""


class WriteError(MusicError):
    """A file that cannot be written, such as on a full disk."""


class MissingError(MusicError):
    """A package or program that is not installed."""


class NoDriverError(MissingError):
    """This machine has no NVIDIA driver."""


class Interrupted(MusicError):  # noqa: N818 (not an error)
    """Ctrl-C stopped the program; the message says what was saved."""

    exit_code = 130


def is_by_ctrl_c(error: BaseException) -> bool:
    """Tell whether Ctrl-C caused an error: code in C may raise its own for KeyboardInterrupt."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, KeyboardInterrupt):
        cause = cause.__cause__ or cause.__context__
    return cause is not None
