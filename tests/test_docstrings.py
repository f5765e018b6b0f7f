"""What is public says what it is, and which errors it raises."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "agentgym"
FILES = {str(file.relative_to(PACKAGE)): ast.parse(file.read_text()) for file in sorted(PACKAGE.rglob("*.py"))}


def public(parent):
    """The public functions and classes in a module or class, the special methods of classes, and where they are."""
    for node in parent.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            special = node.name.startswith("__") and isinstance(parent, ast.ClassDef)
            if special or not node.name.startswith("_"):
                yield node, parent
                if isinstance(node, ast.ClassDef):
                    yield from public(node)


def errors_that_leave(function):
    """The classes that a function raises itself: not in functions within it, and not where it catches them."""
    waiting = list(function.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Raise) and node.exc is not None:
            raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            if isinstance(raised, ast.Name) and raised.id[0].isupper():
                yield raised.id
        elif isinstance(node, ast.With) and ast.unparse(node.items[0]).startswith("needs("):
            continue  # which makes a UserError of it
        elif isinstance(node, ast.Try):
            waiting += [*([] if node.handlers else node.body), *node.handlers, *node.orelse, *node.finalbody]
        elif not isinstance(node, ast.FunctionDef | ast.Lambda | ast.ClassDef):
            waiting += ast.iter_child_nodes(node)


def test_everything_public_has_a_docstring():
    found = [
        f"{file}: {node.name}"
        for file, module in FILES.items()
        for node, _ in public(module)
        if not node.name.startswith("__") and ast.get_docstring(node) is None
    ]
    assert found == []


def test_what_raises_an_error_says_so():
    silent = []
    for file, module in FILES.items():
        if file.startswith("cli/"):  # the docstrings of verbs are their help, which speaks to users
            continue
        for node, parent in public(module):
            if isinstance(node, ast.FunctionDef):
                said = ast.get_docstring(node) or ""
                if node.name.startswith("__"):
                    said += ast.get_docstring(parent) or ""
                errors = said.partition("Raises")[2]
                silent += [f"{file}: {node.name}: {name}" for name in errors_that_leave(node) if name not in errors]
    assert silent == []
