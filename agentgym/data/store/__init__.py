"""A dataset on disk: Arrow shards of whole episodes that appear at once, and a manifest that can be derived from them.

    data/NAME/shard-000000.arrow   one row an episode: scalars, and lists of blocks of frames, actions and rewards
    data/NAME/manifest.json        what the shards hold, for people and for a quick look
    data/NAME/KIND/...             a dataset for each kind of actions and frames, where a suite has several kinds

`format` says what a shard is, `blocks` has its frames, `steps` its actions, `files` the folder. `fitting` says which
episodes are a dataset's, `writer` makes them durable; `dataset` reads them, by `shard` and `columns`. `checking` finds
what is damaged or unfit and keeps the rest. None of them knows an environment or a model.
"""

from agentgym.data.store.blocks import FrameEncoder
from agentgym.data.store.checking import check, repair
from agentgym.data.store.clearing import clear_dataset
from agentgym.data.store.composing import merge, select, set_recipe
from agentgym.data.store.dataset import EpisodeDataset, Windows, window_table
from agentgym.data.store.extras import Extra, JsonText, extras_of
from agentgym.data.store.files import LOST, dataset_folders, is_folder, locate, require_local
from agentgym.data.store.fitting import UnfitEpisodeError, fit
from agentgym.data.store.format import NAMES, OUTCOMES, Attempt, Header, Row, count_outcomes, encode_row, schema_of
from agentgym.data.store.samples import sample_dataset
from agentgym.data.store.shard import Shard
from agentgym.data.store.writer import DatasetWriter

__all__ = [
    "LOST",
    "NAMES",
    "OUTCOMES",
    "Attempt",
    "DatasetWriter",
    "EpisodeDataset",
    "Extra",
    "FrameEncoder",
    "Header",
    "JsonText",
    "Row",
    "Shard",
    "UnfitEpisodeError",
    "Windows",
    "check",
    "clear_dataset",
    "count_outcomes",
    "dataset_folders",
    "encode_row",
    "extras_of",
    "fit",
    "is_folder",
    "locate",
    "merge",
    "repair",
    "require_local",
    "sample_dataset",
    "schema_of",
    "select",
    "set_recipe",
    "window_table",
]
