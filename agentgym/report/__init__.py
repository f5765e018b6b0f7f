"""The pages of a run, and of several runs side by side: self-contained HTML, made of what the run folders hold."""

from agentgym.report.comparing import write_comparison
from agentgym.report.page import write_report

__all__ = ["write_comparison", "write_report"]
