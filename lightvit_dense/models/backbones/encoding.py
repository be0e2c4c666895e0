"""What an encoder hands to a pre-trainer."""

from typing import NamedTuple

from torch import Tensor


class Encoding(NamedTuple):
    """Tokens of an encoder, and what was asked for on the way.

    Layers count from 1, as in the papers; 0 is the embedding.

    Attributes:
        tokens: After all blocks and the final norm [B, prefix+K, C].
        logits: Pre-softmax attention logits by layer [B, heads, Q, K].
        hidden: Outputs by layer, before any final norm [B, prefix+K, C].
    """

    tokens: Tensor
    logits: dict[int, Tensor]
    hidden: dict[int, Tensor]
