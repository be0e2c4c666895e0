"""SimMIM (Xie et al. 2022): an ``encoder`` after BEiT and a convolution ``decoder.0``.

BEiT's peculiarities (query and value biases, relative positions, layer scale) are undone by the
steps that run for every source.
"""

from .base import Source

SIMMIM = Source('SimMIM', prefix='encoder.', drop=r'mask_token$', marks=(r'encoder\.mask_token$',))
