"""Building blocks of the backbones."""

from .attention import Attention
from .block import Block, QueryKeyBlock
from .initialization import trunc_normal_
from .norm import LayerNorm2d
from .patch_embed import PatchEmbed
from .position import resize_position, sincos_position
from .windows import join_windows, pad_to_windows, split_windows
