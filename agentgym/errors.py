"""The one kind of error that is meant for the user.

Everything that a user can fix (a recipe, a folder, an argument) raises `UserError` with one line that says which file
or argument, what was found and what to do. The command line prints that line and exits with code 2.
"""

import difflib
from collections.abc import Iterable
from types import TracebackType

NOTE = "in the code of "  # what the note of a foreign error begins with
LONGEST_LINE = 2_000  # characters; what was found may be a megabyte


class UserError(Exception):
    """Something the user can fix; its text is one line, whatever names and values of others it contains."""

    def __str__(self) -> str:
        return one_line(super().__str__())


def one_line(text: str) -> str:
    """The text on one line of at most LONGEST_LINE characters."""
    text = printable(text)
    return text if len(text) <= LONGEST_LINE else f"{text[: LONGEST_LINE - 1]}…"


def printable(text: str) -> str:
    """The text with line breaks and control characters as escapes, so that no name moves a terminal's cursor."""
    return text if text.isprintable() else "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def first_line(error: BaseException) -> str:
    """The message of a foreign exception, in one line; its class where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


class Interruption(BaseException):
    """What agentgym itself raises inside foreign code; not an Exception, so that no `except Exception` swallows it."""


class ForeignExitError(RuntimeError):
    """Foreign code tried to end the program, or raised what is no Exception."""


class Foreign:
    """A block in which foreign code runs: what it raises is an Exception, and carries a note of whose it is.

    `complaint_of` finds that note. What is raised to end the program from outside, Ctrl-C, passes.
    """

    def __init__(self, who: str, what: str) -> None:
        self._who, self._what = who, what

    def __enter__(self) -> None:
        """Nothing is to be done before."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Notes whose error it is. Raises ForeignExitError in place of what is no Exception."""
        if error is None or isinstance(
            error, UserError | MemoryError | KeyboardInterrupt | GeneratorExit | Interruption
        ):
            return
        if isinstance(error, Exception):
            if not complaint_of(error):
                error.add_note(self._note(error))
            return
        exits = ForeignExitError(described(error))
        exits.add_note(self._note(error))
        raise exits from error

    def _note(self, error: BaseException) -> str:
        return f"{NOTE}{self._who}: its {self._what} raises {described(error)}"


def described(error: BaseException) -> str:
    """What foreign code raised, in one line: the class and the message."""
    said = str(error).strip().partition("\n")[0]
    if isinstance(error, ForeignExitError):  # whose message has the class of what it replaces
        return said
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def complaint_of(error: BaseException) -> str | None:
    """The line that says in whose code an error was raised; None when it was in nobody's but agentgym's."""
    notes = getattr(error, "__notes__", ())
    return next((note.removeprefix(NOTE) for note in notes if note.startswith(NOTE)), None)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` ; did you mean 'x'?` for the closest known word, or an empty string."""
    if len(word) > 200:  # no typing error; comparing takes the square of its length
        return ""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else ""
