"""What a user is told when something is refused: one line."""

import pytest

from agentgym.errors import UserError


def refusal(function, *arguments, **keywords) -> str:
    """The one line with which a call is refused."""
    with pytest.raises(UserError) as caught:
        function(*arguments, **keywords)
    text = str(caught.value)
    assert "\n" not in text
    assert text
    return text
