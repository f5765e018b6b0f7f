"""The three losses, and the one place that divides.

    L(S) = (λ_lang L_lang + λ_mae L_mae + λ_act L_act) / (|W| + Σ_t (|V_t| + |A_t|))          arXiv 2402.05929, eq. 6

    L_lang = − Σ_j log p(w_j | w_<j)
    L_mae  =   Σ_t ‖U(V_t) − U(D_θ(E_θ(M(V_t))))‖²       U keeps the masked patches
    L_act  = − Σ_t Σ_i log p((a_t)_i | W, V_≤t, A_<t, (a_t)_<i)

|W| counts the tokens that are predicted (the start token is given), |V_t| the patches of a frame, |A_t| the tokens of
an action. `masked_frames` chooses which frames the sum of L_mae runs over. In L_act the predicted (a_t)_i and the
(a_t)_<i before it are the target's, a label of the expert where there is one, and A_<t are the executed actions.
Where the expert's probabilities p* were recorded, the term is − Σ_a p*(a) log p(a | W, V_≤t, A_<t) instead. The
loss of a batch is the mean over its samples; with `average_over` "targets" each counts as often as it has steps that
are targets. The paper says "mean squared error" and writes a squared norm; `pixel_reduction` chooses the mean over a
patch's pixels or their sum.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from agentgym.model.masked_autoencoder import Reconstruction
from agentgym.model.output import AgentOutput
from agentgym.recipes import LossRecipe
from agentgym.training.windows import Batch


@dataclass(frozen=True)
class LossTerm:
    """One loss over a batch, before weight and normaliser: its sum, and how many terms were summed."""

    sum: Tensor
    count: Tensor

    @property
    def mean(self) -> float:
        """The sum over the count, 0 where nothing was summed."""
        return float(self.sum) / max(1, int(self.count))


@dataclass(frozen=True)
class Losses:
    """`total` is what is minimised; the parts are for looking at. `correct` counts right action tokens."""

    total: Float[Tensor, ""]
    language: LossTerm  # nats, by token
    masked_image: LossTerm  # squared error of normalised pixels, by masked patch
    action: LossTerm  # nats, by action token
    correct: Tensor

    def numbers(self) -> Float[Tensor, "numbers"]:
        """The total, `correct`, the sums and the counts as one vector on the device: asking for them waits for it."""
        terms = self.language, self.masked_image, self.action
        numbers = [self.total.detach(), self.correct, *(term.sum for term in terms), *(term.count for term in terms)]
        return torch.stack([number.float() for number in numbers])


def frames_to_mask(
    batch: Batch, noise: Float[Tensor, "batch time patches"], recipe: LossRecipe
) -> Bool[Tensor, "batch time"]:
    """Which frames enter L_mae. "one" is the target frame whose noise has the largest sum; a share goes by its rest."""
    targets, which = batch.step_mask & ~batch.context_mask, recipe.masked_frames
    if isinstance(which, float):
        return targets & (noise.sum(2) % 1 < which)
    if which == "one":
        sums = noise.sum(2).masked_fill(~targets, -1)
        return F.one_hot(sums.argmax(1), sums.shape[1]).bool()
    return targets if which == "targets" else batch.step_mask


def compute_losses(
    output: AgentOutput, batch: Batch, recipe: LossRecipe, masked_frames: Bool[Tensor, "batch time"] | None = None
) -> Losses:
    """The losses of a batch of windows; `masked_frames` are those of the reconstruction, None: all real ones."""
    vocabulary = output.action_logits.shape[-1]
    text_tokens = vocabulary - batch.num_action_tokens

    word_mask = batch.instruction_mask[:, :-1].bool()  # predicted: every token that has one before it
    language = (_nll(output.language_logits, batch.instruction[:, 1:]) * word_mask).sum(1)[batch.instruction_of]
    words = word_mask.sum(1)[batch.instruction_of]

    targets = batch.targets + text_tokens
    target_steps = batch.step_mask & ~batch.context_mask
    target_mask = target_steps[..., None].expand_as(targets)
    if batch.target_mask is not None:
        target_mask = target_mask & batch.target_mask
    nll = _nll(output.action_logits, targets)
    if batch.probabilities is not None:
        nll = _toward(nll, output.action_logits[:, :, 0], batch.probabilities, text_tokens)
    action = (nll * target_mask).flatten(1)

    frames_per_sample = batch.step_mask.sum(1)
    if output.reconstruction is None:
        masked_image, num_masked = action.new_zeros(len(words)), targets.new_zeros(())
    else:
        error = _patch_errors(output.reconstruction, recipe)
        counts = (batch.step_mask if masked_frames is None else masked_frames).sum(1)
        sample_of_frame = torch.arange(len(words), device=error.device).repeat_interleave(counts)
        masked_image = error.new_zeros(len(words)).index_add(0, sample_of_frame, error)
        num_masked = output.reconstruction.masked.sum()

    weighted = recipe.language * language + recipe.masked_image * masked_image + recipe.action * action.sum(1)
    frames, actions = frames_per_sample * batch.patches_per_frame, target_mask.flatten(1).sum(1)
    normaliser = words + frames + actions
    weight = target_steps.sum(1) if recipe.average_over == "targets" else 1
    right = likeliest_tokens(output.action_logits, text_tokens, batch.targets) == batch.targets
    return Losses(
        total=(weight * weighted / normaliser).mean(),
        language=LossTerm(language.sum().detach(), words.sum()),
        masked_image=LossTerm(masked_image.sum().detach(), num_masked),
        action=LossTerm(action.sum().detach(), target_mask.sum()),
        correct=(right & target_mask).sum(),
    )


def likeliest_tokens(logits: Tensor, text_tokens: int, targets: Tensor) -> Tensor:
    """The likeliest token at each place, int64[batch, time, action], counted from the first action token.

    It is an action token, except where the target is text: there it is any token.
    """
    likeliest = logits[..., text_tokens:].argmax(-1)
    text = targets < 0
    if text.device.type == "cpu" and not text.any():  # elsewhere asking would wait for the device
        return likeliest
    return torch.where(text, logits.argmax(-1) - text_tokens, likeliest)


def _nll(logits: Tensor, targets: Tensor) -> Tensor:
    """−log p of each target, in float32, shaped as the targets."""
    return F.cross_entropy(logits.float().flatten(0, -2), targets.flatten(), reduction="none").view_as(targets)


def _toward(
    nll: Float[Tensor, "batch time action"],
    logits: Float[Tensor, "batch time vocabulary"],
    probabilities: Float[Tensor, "batch time tokens"],
    text_tokens: int,
) -> Float[Tensor, "batch time action"]:
    """The same, of the first token of each step the cross-entropy with the expert's probabilities where it gave some.

    That is the loss of policy distillation, arXiv 1511.06295, up to a constant.
    """
    log = logits.float().log_softmax(-1)[..., text_tokens:]
    given = probabilities.sum(-1) > 0
    first = torch.where(given, -(probabilities * log).sum(-1), nll[:, :, 0])
    return torch.cat([first[..., None], nll[:, :, 1:]], 2)


def _patch_errors(reconstruction: Reconstruction, recipe: LossRecipe) -> Float[Tensor, "frames"]:
    """The squared error of each frame over its masked patches."""
    squared = (reconstruction.predicted.float() - reconstruction.patches).square()
    by_patch = squared.mean(-1) if recipe.pixel_reduction == "mean" else squared.sum(-1)
    return (by_patch * reconstruction.masked).sum(1)
