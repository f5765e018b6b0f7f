"""The pages of a run, and of several runs side by side: self-contained HTML, made of what the run folders hold."""

from agentgym.report.comparison_page import write_comparison
from agentgym.report.run_page import write_report

__all__ = ["write_comparison", "write_report"]
