"""A command line that must refuse, in this process."""

import re
import sys

import pytest

from agentgym.cli import main


@pytest.fixture
def refuses(tmp_path, monkeypatch, capfd):
    """Runs a command that must end in one line on stderr that matches, with exit code 2; in this process, for speed."""

    def check(pattern, *arguments, cwd=tmp_path):
        monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "argv", ["agentgym", *map(str, arguments)])
        monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
        capfd.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main.main()
        printed = capfd.readouterr().err
        assert exit_.value.code == 2, printed
        assert printed.count("\n") == 1, printed
        assert re.search(pattern, printed), printed

    return check
