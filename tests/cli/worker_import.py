"""What a worker process is asked; a module, so that the process can import it."""

from agentgym import trust


def may_import(module: str) -> bool:
    """What a worker is asked; raises UserError when it may not."""
    trust.check_module(module, "a worker")
    return True
