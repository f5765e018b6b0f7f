"""Where the time of an update goes, by recipe: `python tests/benchmarks/update_cost.py`.

Each recipe is trained for a few updates on a few recorded episodes, with one thread, and the seconds of the processor
are counted part by part: forward by the model's parts, backward, and the optimizer's two halves. The last line is of
the same updates with instructions read in every window instead of once. Writes tests/benchmarks/update_cost.md.
"""

import tempfile
import time
from collections import defaultdict
from contextlib import nullcontext
from pathlib import Path

import torch

from agentgym import recipes
from agentgym.experts import collection
from agentgym.model import shared_instructions
from agentgym.training.allocator import keep_freed_memory
from agentgym.training.augmentation import draw
from agentgym.training.datasets import open_parts
from agentgym.training.first_model import first_model, window_config_of
from agentgym.training.forward import forward
from agentgym.training.optimizer import Muon, convolves_in_bfloat16, optimizers_of
from agentgym.training.sources import sources_of

RECIPES = ("babyai-goto-redball", "babyai-goto-local", "minatar-asterix")
EPISODES, WARM_UP, UPDATES = 200, 3, 10
PARTS = {
    "vision_encoder": "vision encoder",
    "projector": "projector",
    "language_model": "language model",
    "mae_decoder": "MAE decoder",
}


class Stopwatch:
    """Milliseconds of the processor, by name."""

    def __init__(self):
        self.spent = defaultdict(float)

    def timed(self, name, function, *arguments, **keywords):
        started = time.process_time()
        result = function(*arguments, **keywords)
        self.spent[name] += 1000 * (time.process_time() - started)
        return result

    def watch(self, module, name):
        """Adds the forward passes of a part of the model to `name`."""
        began = []
        module.register_forward_pre_hook(lambda *_: began.append(time.process_time()))
        module.register_forward_hook(lambda *_: self._add(name, began.pop()))

    def _add(self, name, began):
        self.spent[name] += 1000 * (time.process_time() - began)


def measure(name, folder):
    """Milliseconds an update, by part."""
    recipe = recipes.load_experiment(name, [f"dataset.episodes={EPISODES}", "training.optimizer=muon"])
    collection.collect(recipe.dataset, folder, workers=1)
    torch.manual_seed(0)
    parts = open_parts(folder, recipe)
    model, tokenizer = first_model(recipe, parts)
    source, _ = sources_of(parts, window_config_of(model, tokenizer))
    if model.vision_encoder.stem is not None:
        model.vision_encoder.stem.trains_in_bfloat16 = convolves_in_bfloat16(recipe.training.precision)
    optimizers = optimizers_of(model, recipe.training, bfloat16=False)
    size, watch = recipe.training.batch_size, Stopwatch()
    for child, shown in PARTS.items():
        watch.watch(getattr(model, child), shown)
    for update in range(WARM_UP + UPDATES):
        if update == WARM_UP:
            watch.spent.clear()
        batch = watch.timed("batch", source.batch, source.order(0, update * size, size))
        noise, _ = draw(batch, 0, range(update * size, (update + 1) * size))
        before = sum(watch.spent[each] for each in PARTS.values())
        started = time.process_time()
        _, losses = forward(model, batch, noise, recipe.losses, nullcontext)
        inside = sum(watch.spent[each] for each in PARTS.values()) - before
        watch.spent["losses, patches and the rest of forward"] += 1000 * (time.process_time() - started) - inside
        watch.timed("backward", losses.total.backward)
        watch.timed("clipping", torch.nn.utils.clip_grad_norm_, model.parameters(), recipe.training.gradient_clip)
        for optimizer in optimizers:
            watch.timed("Muon" if isinstance(optimizer, Muon) else "AdamW", optimizer.step)
            optimizer.zero_grad()
    return {part: spent / UPDATES for part, spent in watch.spent.items()}


def main():
    keep_freed_memory()
    torch.set_num_threads(1)
    found, apart, least = {}, [], shared_instructions.LEAST_SHARE
    with tempfile.TemporaryDirectory() as folder:
        for name in RECIPES:
            measure(name, Path(folder) / name)  # what runs first is slower
            found[name] = measure(name, Path(folder) / name)
            shared_instructions.LEAST_SHARE = 1  # all tokens of a batch, which are never saved
            apart.append(sum(measure(name, Path(folder) / name).values()))
            shared_instructions.LEAST_SHARE = least
    rows = sorted({part for each in found.values() for part in each}, key=lambda part: -found[RECIPES[0]].get(part, 0))
    lines = [
        f"torch {torch.__version__}, one thread. Milliseconds of the processor an update, and their share.",
        "",
        f"| part | {' | '.join(f'`{name}`' for name in RECIPES)} |",
        "|---|" + "---|" * len(RECIPES),
        *(
            f"| {part} | "
            + " | ".join(
                f"{each.get(part, 0):.1f} ({each.get(part, 0) / sum(each.values()):.0%})" for each in found.values()
            )
            + " |"
            for part in rows
        ),
        f"| all | {' | '.join(f'{sum(each.values()):.1f}' for each in found.values())} |",
        f"| all, instructions read in every window | {' | '.join(f'{each:.1f}' for each in apart)} |",
    ]
    text = "\n".join(lines) + "\n"
    Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
