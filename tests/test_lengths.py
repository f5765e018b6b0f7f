"""How large a unit may be: what does not fit on a few screens has a second idea in it."""

import ast
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parent.parent
FILES = {file: file.read_text() for folder in ("agentgym", "tests", "docs") for file in (ROOT / folder).rglob("*.py")}
LENGTHS = {str(file.relative_to(ROOT)): len(text.splitlines()) for file, text in FILES.items()}


def test_no_file_has_more_than_300_lines_and_half_have_fewer_than_150():
    assert {file: length for file, length in LENGTHS.items() if length > 300} == {}
    assert median(length for file, length in LENGTHS.items() if file.startswith("agentgym")) < 150


def test_no_function_has_more_than_60_lines():
    lengths = {
        f"{file.relative_to(ROOT)}: {node.name}": node.end_lineno - node.lineno + 1
        for file, text in FILES.items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: length for name, length in lengths.items() if length > 60} == {}


def test_there_is_no_drawer_for_helpers():
    drawers = {"utils", "util", "helpers", "helper", "common", "misc", "tools"}
    assert not [file for file in FILES if file.stem in drawers or file.parent.name in drawers]
