"""The one kind of error that is meant for the person at the keyboard.

Everything that a user can mend (a recipe, a folder, an argument) raises `UserError` with one line that says which file
or argument, what was found and what to do. The command line prints that line and exits with code 2.
"""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can mend; its text is one line."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` ; did you mean 'x'?` for the closest known word, or an empty string."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else ""
