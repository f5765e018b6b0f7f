"""The one kind of error that is meant for the user.

Everything that a user can fix (a recipe, a folder, an argument) raises `UserError` with one line that says which file
or argument, what was found and what to do. The command line prints that line and exits with code 2.
"""

import difflib
from collections.abc import Iterable

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


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` ; did you mean 'x'?` for the closest known word, or an empty string."""
    if len(word) > 200:  # no typing error; comparing takes the square of its length
        return ""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else ""
