"""`python -m agentgym`, so that `accelerate launch -m agentgym train ...` works."""

from agentgym.cli import main

main()
