"""Pages, figures and videos of run folders and datasets. Nothing is measured here.

run_page, run_results, comparison_page   the page of a run, what it reads, the page of several runs
curves, figures, video_section, failures   parts of a page; reference_scores: published results
dataset_page, dagger_page, ppo_page, transfer_page   pages of a dataset and of other experiments
video, episode_videos, publish           MP4s, and results next to a recipe
marked_tables                            tables of published results in documents
"""

from agentgym.report.comparison_page import write_comparison
from agentgym.report.run_page import write_report

__all__ = ["write_comparison", "write_report"]
