"""`python -m agentgym`, so that `accelerate launch -m agentgym train ...` works."""

from agentgym.cli.main import main

main()
