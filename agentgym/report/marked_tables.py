"""Tables of published results between the marks of a document, such as docs/results.md."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from agentgym.evaluation.score_rows import Score, defines_success, read_scores
from agentgym.evaluation.stored import read_evaluation
from agentgym.files import read_text, replace_file
from agentgym.report.publish import between, results_table, score_of, three
from agentgym.report.reference_scores import peers_of
from agentgym.report.training_runs import mean_of


def update_results(document: Path, name: str, evaluation: dict[str, Any]) -> bool:
    """Puts the table between a document's `<!-- results:NAME -->` marks; whether it has such marks."""
    text = read_text(document)
    pattern = rf"(<!-- results:{re.escape(name)} -->\n).*?(<!-- /results -->)"
    changed, count = re.subn(
        pattern, lambda match: f"{match[1]}{results_table(evaluation)}{match[2]}", text, flags=re.DOTALL
    )
    if count:
        replace_file(document, changed)
    return bool(count)


def scores_table(folder: Path, names: Sequence[str], pages: str = "experiments") -> str:
    """One line for each task of published runs, by their numbers in `folder`, as Markdown, linked to `pages`."""
    stored = {name: read_evaluation(folder / f"{name}.json") for name in names}
    judged = all(defines_success(task) for each in stored.values() for task in each["tasks"])
    several = any("training_runs" in each for each in stored.values())
    lines = [
        f"| task | {'success' if judged else 'score'} [95 %] | random | expert | trained |"
        + (" normalised, over training seeds |" if several else ""),
        "|---|---|---|---|---|" + ("---|" if several else ""),
    ]
    for name, each in stored.items():
        scores = list(read_scores(each))
        for agent in (score for score in scores if score.role == "agent"):
            by_role = {score.role: score_of(score) for score in scores if score.task == agent.task}
            trained = f"{each['training']['targets']:,} actions in {each['training']['seconds'] / 60:.0f} min"
            lines.append(
                f"| [{agent.task}]({pages}/{name}.md) | {score_of(agent)} [{between(agent)}] "
                f"| {by_role['random']} | {by_role.get('expert', '–')} | {trained} |"
                + (f" {_over_runs(each, agent.task)} |" if several else "")
            )
    return "\n".join(lines) + "\n"


def _over_runs(stored: dict[str, Any], task: str) -> str:
    runs = stored.get("training_runs", ())
    return f"{mean_of(runs, task)} of {len(runs)}" if runs and task in runs[0]["normalised"] else "–"


def specialists_table(folder: Path, name: str, others: Sequence[str], pages: str = "experiments") -> str:
    """One line for each task of a published run of many: its score next to that of the agent trained for fewer tasks.

    Of the `others`, which are published too, the first that plays the task is next to it.
    """
    specialists: dict[str, tuple[str, Score]] = {}
    for other in others:
        for score in _agents(folder, other):
            specialists.setdefault(score.task, (other, score))
    lines = [f"| task | random | expert | {name} | normalised | specialist | normalised |", "|---" * 7 + "|"]
    stored = list(read_scores(read_evaluation(folder / f"{name}.json")))
    for agent in (score for score in stored if score.role == "agent"):
        by_role = {score.role: score_of(score) for score in stored if score.task == agent.task}
        special = "– | –"
        if agent.task in specialists:
            other, theirs = specialists[agent.task]
            special = f"[{score_of(theirs)}]({pages}/{other}.md) | {three(theirs.normalised)}"
        lines.append(
            f"| {agent.task} | {by_role['random']} | {by_role.get('expert', '–')} "
            f"| {score_of(agent)} | {three(agent.normalised)} | {special} |"
        )
    return "\n".join(lines) + "\n"


def _agents(folder: Path, name: str) -> Iterator[Score]:
    stored = read_evaluation(folder / f"{name}.json")
    yield from (score for score in read_scores(stored) if score.role == "agent")


def peers_table(folder: Path, name: str, who: str, pages: str = "experiments") -> str:
    """One line for each task of a published run: its score, and a peer's where that published one on the same scale.

    Below it is in how many of the peer's tasks the agent is ahead, level or behind at two digits, and both means.
    """
    stored = list(read_scores(read_evaluation(folder / f"{name}.json")))
    lines = [
        f"| task | random | expert | [{name}]({pages}/{name}.md) | normalised | {who} | the agent is |",
        "|---" * 7 + "|",
    ]
    both: list[tuple[float, float]] = []
    places: Counter[str] = Counter()
    for agent in (score for score in stored if score.role == "agent"):
        by_role = {score.role: score_of(score) for score in stored if score.task == agent.task}
        theirs, place = _normalised(who, agent.task), ""
        if theirs is not None and agent.normalised is not None:
            both.append((agent.normalised, theirs))
            lead = round(agent.normalised, 2) - theirs
            place = "ahead" if lead > 0 else "behind" if lead < 0 else "level"
            places[place] += 1
        lines.append(
            f"| {agent.task} | {by_role['random']} | {by_role.get('expert', '–')} | {score_of(agent)} "
            f"| {three(agent.normalised)} | {'–' if theirs is None else f'{theirs:.2f}'} | {place} |"
        )
    if both:
        ours, others = (sum(values) / len(both) for values in zip(*both, strict=True))
        lines += [
            "",
            f"Of {len(both)} tasks, at two digits: ahead in {places['ahead']}, level in {places['level']}, "
            f"behind in {places['behind']}; means over these: {ours:.3f}, and {others:.3f} of {who}.",
        ]
    return "\n".join(lines) + "\n"


def _normalised(who: str, task: str) -> float | None:
    return next((p.normalised for p in peers_of([task]) if p.who.startswith(who) and p.normalised is not None), None)


def update_scores(document: Path, folder: Path) -> None:
    """Puts tables between a document's marks, of what is published in `folder`.

    `<!-- scores:NAME,NAME -->` is `scores_table`, `<!-- specialists:NAME:OTHER,OTHER -->` is `specialists_table`,
    `<!-- peers:NAME:WHO -->` is `peers_table`.
    """

    pages = os.path.relpath(folder, document.parent)

    def published(names: str) -> list[str]:
        return [name for name in names.split(",") if (folder / f"{name}.json").is_file()]

    def scores(match: re.Match[str]) -> str:
        return f"{match[1]}{scores_table(folder, published(match[2]), pages)}{match[3]}"

    def specialists(match: re.Match[str]) -> str:
        table = specialists_table(folder, match[2], published(match[3]), pages) if published(match[2]) else ""
        return f"{match[1]}{table}{match[4]}"

    def peers(match: re.Match[str]) -> str:
        table = peers_table(folder, match[2], match[3], pages) if published(match[2]) else ""
        return f"{match[1]}{table}{match[4]}"

    text = read_text(document)
    changed = re.sub(r"(<!-- scores:(\S+) -->\n).*?(<!-- /scores -->)", scores, text, flags=re.DOTALL)
    marks = r"(<!-- specialists:([^:\s]+):(\S+) -->\n).*?(<!-- /specialists -->)"
    changed = re.sub(marks, specialists, changed, flags=re.DOTALL)
    changed = re.sub(r"(<!-- peers:([^:\s]+):(\S+) -->\n).*?(<!-- /peers -->)", peers, changed, flags=re.DOTALL)
    if changed != text:
        replace_file(document, changed)
