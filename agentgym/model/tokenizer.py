"""The text tokenizer: byte-level BPE trained on a data set's instructions, in the conventions of OPT.

Ids 0 to 3 are <s>, <pad>, </s> and <unk>; every instruction starts with </s>, as OPT's do. The action tokens follow the
text tokens, so that the saved tokenizer names every id of the model.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from agentgym.errors import UserError, first_line
from agentgym.files import LARGEST_SETTINGS, check_file, read_json

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
PAD, START = 1, 2
REMEMBERED = 10_000  # instructions


def train_tokenizer(
    instructions: Iterable[str], action_tokens: Sequence[str], *, vocabulary: int = 1000
) -> PreTrainedTokenizerFast:
    """A tokenizer for those instructions (any other text is encoded too, byte by byte), with the action tokens last."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sorted(set(instructions)), trainer)
    return _with_actions(tokenizer, action_tokens)


def read_pretrained_tokenizer(
    folder: Path, action_tokens: Sequence[str], *, vocabulary: int
) -> PreTrainedTokenizerFast:
    """The tokenizer that an OPT was published with, the action tokens last.

    OPT's table has more rows than its tokenizer has tokens; each such row gets a name, so that every id has one.
    Raises UserError when the folder has no tokenizer or one of another kind.
    """
    if (folder / "tokenizer.json").is_file():
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.no_truncation()
    elif (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        tokenizer = Tokenizer(models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt")))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.add_special_tokens(SPECIAL)
    else:
        raise UserError(f"{folder}: has no tokenizer; put tokenizer.json, or vocab.json and merges.txt, there")
    for name, expected in (("<pad>", PAD), ("</s>", START)):
        if tokenizer.token_to_id(name) != expected:
            raise UserError(f"{folder}: token {name} has id {tokenizer.token_to_id(name)}; in OPT's it is {expected}")
    size = tokenizer.get_vocab_size()
    if size > vocabulary:
        raise UserError(f"{folder}: the tokenizer has {size} tokens, the model's table {vocabulary} rows")
    tokenizer.add_tokens([AddedToken(f"<unused:{i}>", normalized=False) for i in range(size, vocabulary)])
    return _with_actions(tokenizer, action_tokens)


def _with_actions(tokenizer: Tokenizer, action_tokens: Sequence[str]) -> PreTrainedTokenizerFast:
    """Every text starts with the start token; the action tokens come last."""
    tokenizer.post_processor = processors.TemplateProcessing(single="</s> $A", special_tokens=[("</s>", START)])
    tokenizer.add_tokens([AddedToken(name, normalized=False) for name in action_tokens])
    return wrap_tokenizer(tokenizer)


def replace_actions(
    tokenizer: PreTrainedTokenizerFast, action_tokens: Sequence[str], *, num_text_tokens: int
) -> PreTrainedTokenizerFast:
    """The same text tokens, with other action tokens last."""
    values = json.loads(tokenizer.backend_tokenizer.to_str())
    values["added_tokens"] = [token for token in values["added_tokens"] if token["id"] < num_text_tokens]
    return _with_actions(Tokenizer.from_str(json.dumps(values)), action_tokens)


def wrap_tokenizer(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    """A whole tokenizer under Hugging Face's interface, with OPT's special tokens."""
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="</s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        padding_side="left",
    )


def load_tokenizer(path: str | Path) -> PreTrainedTokenizerFast:
    """The tokenizer of a checkpoint folder. Raises UserError when it has none, a damaged one or another model's."""
    folder = Path(path)
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise UserError(f"{path}: has no tokenizer.json; the checkpoint is not whole")
    check_file(file, most=LARGEST_SETTINGS)
    try:
        tokenizer = Tokenizer.from_file(str(file))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        tokenize(wrapped := wrap_tokenizer(tokenizer), "go to the red ball")
    except Exception as error:  # a damaged file raises whatever its reader raises
        raise UserError(f"{file}: cannot be read ({first_line(error)}); the checkpoint is not whole") from None
    _check_vocabulary(wrapped, folder)
    return wrapped


def _check_vocabulary(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Raises UserError unless the tokenizer has a name for each row of the model's table, the actions' names last."""
    file, config_file = folder / "tokenizer.json", folder / "config.json"
    for name, expected in (("<pad>", PAD), ("</s>", START)):
        found = tokenizer.backend_tokenizer.token_to_id(name)
        if found != expected:
            raise UserError(f"{file}: token {name} has id {found}, expected {expected}: another model's tokenizer")
    if not config_file.is_file():
        return
    config = read_json(config_file, dict, most=LARGEST_SETTINGS)
    try:
        rows, actions = int(config["language_config"]["vocab_size"]), config.get("action_tokens") or []
        if not isinstance(actions, list):
            raise TypeError("action_tokens")
    except (ValueError, KeyError, TypeError):
        message = f"{config_file}: is not a whole configuration of an agent; the checkpoint is not whole"
        raise UserError(message) from None
    if len(tokenizer) != rows:
        raise UserError(f"{file}: has {len(tokenizer)} tokens, the model {rows} rows: another model's tokenizer")
    names = tokenizer.convert_ids_to_tokens(list(range(rows - len(actions), rows)))
    if names != actions:
        other = next((a, b) for a, b in zip(names, actions, strict=True) if a != b)
        raise UserError(f"{file}: has {other[0]} where the model has {other[1]}: another model's tokenizer")


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def tokenize(tokenizer: PreTrainedTokenizerFast, instruction: str) -> NDArray[np.int64]:
    """W, int64[tokens]: the start token and the tokens of the instruction.

    The names of special tokens and actions are text like any other: an instruction cannot say them.
    """
    backend = tokenizer.backend_tokenizer
    text = backend.normalizer.normalize_str(instruction) if backend.normalizer else instruction
    parts = backend.pre_tokenizer.pre_tokenize_str(text)
    tokens = [token.id for part, _ in parts for token in backend.model.tokenize(part)]
    return np.array([START, *tokens], dtype=np.int64)


def most_tokens(text_bytes: int) -> int:
    """The most tokens of a text of that many bytes: one each, the start token, and the space before the first word."""
    return text_bytes + 2


class Instructions:
    """The tokens of instructions, as `tokenize` gives them; those of the latest thousands are remembered."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._tokenizer = tokenizer
        self._known: dict[str, NDArray[np.int64]] = {}

    def __call__(self, instruction: str) -> NDArray[np.int64]:
        """W: the start token and the tokens of the instruction."""
        if instruction not in self._known:
            if len(self._known) >= REMEMBERED:
                self._known = {}
            self._known[instruction] = tokenize(self._tokenizer, instruction)
        return self._known[instruction]


def pad_left(rows: Sequence[NDArray[np.int64]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Token rows of different lengths as one array [rows, longest], padded on the left, and its mask."""
    longest = max(len(row) for row in rows)
    tokens = np.full((len(rows), longest), PAD, dtype=np.int64)
    mask = np.zeros((len(rows), longest), dtype=np.int64)
    for i, row in enumerate(rows):
        tokens[i, longest - len(row) :] = row
        mask[i, longest - len(row) :] = 1
    return tokens, mask
