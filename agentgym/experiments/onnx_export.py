"""A trained agent as a folder that runs with only onnxruntime and numpy.

policy.onnx         one step (`model.exported_step`), float32      policy-int8.onnx    the same with int8 weights
policy.json         names of actions, sizes, window, tokenizer     onnx_policy.py      what runs them
example.npz         an episode as PyTorch plays it                 example.py          plays it again: thirty lines
"""

import json
import logging
import warnings
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast

from agentgym import environments
from agentgym.errors import UserError, did_you_mean
from agentgym.evaluation.results import replay_frames
from agentgym.evaluation.rollouts import rollout
from agentgym.extras import needs
from agentgym.files import write_json
from agentgym.folders import check_output_is_free, new_folder
from agentgym.model.exported_step import ExportedStep
from agentgym.model.sequence import SlidingWindow
from agentgym.model.single_domain import of_one_domain
from agentgym.model.tokenizer import START
from agentgym.model.weights import fingerprint
from agentgym.policies.agent_policy import AgentPolicy
from agentgym.recipes import ExperimentRecipe, FrameRecipe, SuiteRecipe, TaskRecipe
from agentgym.spaces import SpaceCodec
from agentgym.spaces.domains import Domain
from agentgym.training.run_folder import read_recipe

FORMAT = 1
OPSET = 18
EXAMPLE_STEPS = 500  # of the episode that goes with an export, at most
COPIED = ("onnx_policy.py", "example.py")


def export_onnx(run: Path, out: Path, *, task: str | None = None) -> dict[str, Any]:
    """Writes the folder, whole or not at all; says what is in it and on how many steps its actions were PyTorch's.

    Of an agent of several kinds of actions or frames it is what plays that task, of the run's first one when not given.
    Raises UserError when `run` is not a run or knows no such task, `out` holds something, or the extra is missing.
    """
    _require_onnx()
    recipe = read_recipe(run)
    suite, chosen = _find_task(recipe, task, run)
    check_output_is_free(out)
    policy = AgentPolicy.from_pretrained(run, device="cpu")
    domain = _domain_of(policy, chosen, suite.frame)
    policy = AgentPolicy(*of_one_domain(policy.model, policy.tokenizer, domain))
    with new_folder(out) as folder:
        steps = _fill(folder, policy, suite, chosen, recipe.evaluation.first_seed)
    sizes = {file.name: file.stat().st_size for file in sorted(out.iterdir())}
    return {"folder": str(out), "bytes": sizes, "steps_compared": steps}


def _find_task(recipe: ExperimentRecipe, task: str | None, run: Path) -> tuple[SuiteRecipe, TaskRecipe]:
    """The task of that id among those of a run's suites, or the first one. Raises UserError when there is none."""
    known = {each.id: (suite, each) for suite in reversed(recipe.suites) for each in reversed(suite.tasks)}
    if not known:
        raise UserError(f"{run}: does not say which tasks it plays")
    if task is None:
        return list(known.values())[-1]
    if task not in known:
        raise UserError(f"{run}: was not trained on {task}{did_you_mean(task, known) or f'; known: {sorted(known)}'}")
    return known[task]


def _domain_of(policy: AgentPolicy, task: TaskRecipe, frame: FrameRecipe) -> Domain:
    """The actions and frames by which an agent plays a task. Raises UserError when it knows none such."""
    env = environments.make(task, frame=frame)
    space = SpaceCodec.of(env.action_space, env.action_names)
    env.close()
    return policy.fitted(space, env.frame_shape, env.task).domain


def _cut(task: TaskRecipe, frame: FrameRecipe) -> TaskRecipe:
    """The task with episodes of at most EXAMPLE_STEPS: a whole game of Atari would be long to compare."""
    env = environments.make(task, frame=frame)
    longest = env.longest
    env.close()
    return task if longest and longest <= EXAMPLE_STEPS else task.model_copy(update={"limit": EXAMPLE_STEPS})


def _fill(folder: Path, policy: AgentPolicy, suite: SuiteRecipe, task: TaskRecipe, seed: int) -> int:
    """Policy and example; how many steps that has. Raises UserError when the graph plays it otherwise than PyTorch."""
    write_policy(policy, folder)
    for name in COPIED:
        (folder / name).write_text(
            (resources.files("agentgym.policies.onnx_runtime") / name).read_text("utf-8"), "utf-8"
        )
    short = _cut(task, suite.frame)
    [episode] = rollout(policy, short, frame=suite.frame, seeds=[seed], num_environments=1, deterministic=True)
    frames = replay_frames(episode, short, suite.frame)[0][:-1]
    np.savez_compressed(
        folder / "example.npz", frames=frames, actions=np.array(episode.actions), instruction=episode.instruction
    )
    same, steps = _agreement(folder, frames, episode.instruction, episode.actions), len(episode.actions)
    if same < steps:
        raise UserError(f"the exported policy: {same} of {steps} actions are PyTorch's; nothing was exported")
    return steps


def write_policy(policy: AgentPolicy, folder: Path) -> None:
    """What `OnnxPolicy` reads, into a folder that exists: policy.json, policy.onnx and policy-int8.onnx.

    Raises UserError for an agent of clips, of actions that are not Discrete, or without a byte-level BPE tokenizer.
    """
    write_json(folder / "policy.json", {**_sizes(policy), "tokenizer": _plain_tokenizer(policy.tokenizer)})
    _write_graph(policy, folder / "policy.onnx")
    _quantize(folder / "policy.onnx", folder / "policy-int8.onnx")


def _require_onnx() -> None:
    with needs("onnx", what="the export"):
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401


def _sizes(policy: AgentPolicy) -> dict[str, Any]:
    """What a host needs in addition to the graph, as plain values."""
    config, language = policy.model.config, policy.model.language_model.config
    root = policy.codec.discrete_root("an exported policy")
    policy.model.check_reads_images("an exported policy")
    heads = language.num_attention_heads
    return {
        "format": FORMAT,
        "fingerprint": fingerprint(policy.model),
        "tasks": list(policy.tasks),
        "action_names": list(root.names[0]),
        "action_start": root.starts[0],
        "frame_shape": list(policy.domain.frame_shape),
        "instruction_attention": config.instruction_attention,
        "window_table": list(SlidingWindow(config.window).table),
        "visual": [policy.model.visual_tokens, language.word_embed_proj_dim],
        "keys_values": [language.num_hidden_layers, 2, heads, 0, language.hidden_size // heads],
    }


def _plain_tokenizer(wrapped: PreTrainedTokenizerFast) -> dict[str, Any]:
    """The tokenizer as tables of byte strings in Latin-1. Raises UserError for one that is not a byte-level BPE."""
    tokenizer = json.loads(wrapped.backend_tokenizer.to_str())
    model, splits = tokenizer["model"], tokenizer["pre_tokenizer"]
    if model["type"] != "BPE" or splits["type"] != "ByteLevel" or tokenizer["normalizer"]:
        raise UserError("the tokenizer of the agent is not a byte-level BPE, which is what can be exported")
    byte_of = _bytes_by_sign()

    def plain(token: str) -> str:
        return bytes(byte_of[sign] for sign in token).decode("latin-1") if set(token) <= set(byte_of) else token

    special = {token["id"] for token in tokenizer["added_tokens"]}
    tokens = [""] * (1 + max(model["vocab"].values()))
    for token, number in model["vocab"].items():
        tokens[number] = token if number in special else plain(token)
    merges = [each if isinstance(each, list) else each.split(" ") for each in model["merges"]]
    return {
        "tokens": tokens,
        "merges": [[plain(part) for part in pair] for pair in merges],
        "start": START,
        "prefix_space": splits["add_prefix_space"],
    }


def _bytes_by_sign() -> dict[str, int]:
    """GPT-2's alphabet: printable bytes are written as themselves, the others as the signs from 256 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + place): byte for place, byte in enumerate(others)}


def _write_graph(policy: AgentPolicy, file: Path) -> None:
    step, language = ExportedStep(policy.model).eval(), policy.model.language_model.config
    heads, width = language.num_attention_heads, language.hidden_size
    example = (
        torch.zeros(*policy.domain.frame_shape, 3, dtype=torch.uint8),
        torch.zeros(3, dtype=torch.long),
        torch.zeros(2, policy.model.visual_tokens, language.word_embed_proj_dim),
        torch.zeros(2, 1, dtype=torch.long),
        torch.zeros(language.num_hidden_layers, 2, heads, 3, width // heads),
    )
    names = {"instruction": {0: "words"}, "visual": {0: "past"}, "actions": {0: "past"}, "keys_values": {3: "read"}}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the tracer is called old, and knows that sizes are taken while it traces
        step(*example)  # so that what is computed once, as the matrices that resize frames, is in the graph as numbers
        torch.onnx.export(
            step,
            example,
            str(file),
            dynamo=False,  # a graph as exact and quicker, in one second instead of twenty, without onnxscript
            opset_version=OPSET,
            input_names=["frame", *names],
            output_names=["logits", "new_visual", "new_keys_values"],
            dynamic_axes={**names, "new_visual": {0: "steps"}, "new_keys_values": {3: "all"}},
        )
    _name_matrices(file)


def _name_matrices(file: Path) -> None:
    """Makes the matrices that are constants of the graph its initialisers, which are all that quantisation looks at."""
    import onnx

    model = onnx.load(file)
    nodes = list(model.graph.node)
    matrices = [node for node in nodes if node.op_type == "Constant" and len(node.attribute[0].t.dims) == 2]
    for node in matrices:
        model.graph.initializer.add().CopyFrom(node.attribute[0].t)
        model.graph.initializer[-1].name = node.output[0]
        model.graph.node.remove(node)
    onnx.save(model, file)


def _quantize(file: Path, to: Path) -> None:
    """The graph with int8 weights, a scale for each column; what flows through it is quantised as it comes."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    logging.disable(logging.WARNING)  # it warns of every tensor that is not of floats
    try:
        quantize_dynamic(file, to, weight_type=QuantType.QInt8, per_channel=True)
    finally:
        logging.disable(logging.NOTSET)


def _agreement(folder: Path, frames: np.ndarray, instruction: str, actions: tuple[int, ...]) -> int:
    """How many of an episode's actions the float32 graph chooses too."""
    from agentgym.policies.onnx_runtime.onnx_policy import OnnxPolicy

    exported, history, same = OnnxPolicy(folder / "policy.onnx"), None, 0
    for frame, action in zip(frames, actions, strict=True):
        chosen, history = exported.act(frame, instruction, history)
        same += chosen == action
    return same
