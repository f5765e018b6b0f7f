"""SpaceCodec: any Gymnasium action space <-> action tokens, with the grammar of what may follow.

    Discrete, MultiDiscrete     one token a number              <action:pickup>  <action:gripper=2>
    Box                         one token a dimension: its bin  <action:camera.0=57>
    MultiBinary                 the pressed buttons, in order   <action:attack> <action:jump>
    Text                        one token a character           <action:'a'>
    TextTokenSpace              a text of the tokenizer's own tokens, no space of Gymnasium's
    Dict, Tuple                 their parts, one after another

Where the length varies the action is between a start and an end token, as in the paper (arXiv 2402.05929):

    <action_start> <action:attack> <action_next> <action:camera.0=57> <action:camera.1=50> <action_end>

and `<action_next>` ends a part of variable length that others follow. Names are shared wherever they are equal, in one
space and between environments: its place decides which part a token belongs to. A codec knows the space, neither
the environment nor the model.

A series of actions is an array of tokens, NO_TOKEN after the last one of a shorter action. Data sets name their space
by its codec (`agentgym.spaces.values` has the values), and so do the checkpoints of what is trained on them.
"""

from agentgym.spaces.codec import NO_TOKEN, SpaceCodec
from agentgym.spaces.grammar import State
from agentgym.spaces.nodes import END, NEXT, START, Buttons, Characters, CompositeSpace, Leaf, Node, TextTokenSpace
from agentgym.spaces.numbers import Integers, Reals

__all__ = [
    "END",
    "NEXT",
    "NO_TOKEN",
    "START",
    "Buttons",
    "Characters",
    "CompositeSpace",
    "Integers",
    "Leaf",
    "Node",
    "Reals",
    "SpaceCodec",
    "State",
    "TextTokenSpace",
]
