"""Convolutional networks of timm as backbones."""

from typing import Any

import torch
from mmengine.model import BaseModule
from torch import Tensor
from typing_extensions import Self

from ...registry import MODELS
from ..timm_models import create_timm_model


@MODELS.register_module()
class TimmBackbone(BaseModule):
    """A convolutional network of timm by its name there, without its classifier.

    Files of timm load by :class:`~lightvit_dense.checkpoints.PretrainedBackbone`, and timm loads an
    exported backbone. Raises ValueError if timm does not know the name, or the features that the
    network's classifier pools are no map [B, C, rows, columns].

    Args:
        name: timm's name, e.g. 'efficientnet_b0' or 'resnet50'.
        options: Further arguments of ``timm.create_model``, e.g. ``dict(drop_path_rate=0.2)``.
        torch_init: Whether layers start as torch makes them, as in SEED's code, not as timm does.
    """

    num_prefix_tokens = 0

    def __init__(
        self,
        name: str,
        options: dict[str, Any] | None = None,
        torch_init: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        network = create_timm_model(name, num_classes=0, **(options or {}))
        for layer in network.modules() if torch_init else ():
            if hasattr(layer, 'reset_parameters'):
                layer.reset_parameters()
        self.name = name
        self.arch = dict(timm=name, **(options or {}))
        self.embed_dims: int = network.num_features
        # Not a child, whose name would stand before all of timm's: both modules have the same
        # tables of parameters, buffers and children.
        self._network = (network,)
        for table in ('_parameters', '_buffers', '_non_persistent_buffers_set', '_modules'):
            self.__dict__[table] = network.__dict__[table]
        self._check_features()

    def _check_features(self) -> None:
        size = self._network[0].pretrained_cfg['input_size']
        with torch.no_grad():
            shape = self.eval()(torch.zeros(1, *size))[-1].shape
        self.train()
        head = getattr(self._network[0], 'head_hidden_size', self.embed_dims)
        if len(shape) != 4 or shape[1] != self.embed_dims or head != self.embed_dims:
            raise ValueError(
                f'{self.name}: TimmBackbone takes convolutional networks of timm whose classifier '
                f'is a linear layer on the mean of a map; this one gives {tuple(shape)} for an '
                f'image {size} and its classifier reads {head} channels'
            )
        # The map's, for an image of the size that timm names.
        self.grid_size, self.patch_size = tuple(shape[2:]), size[1] // shape[2]

    def train(self, mode: bool = True) -> Self:
        """Switch between training and evaluation."""
        self._network[0].training = mode
        return super().train(mode)

    def forward(self, inputs: Tensor) -> tuple[Tensor]:
        """Return the last map [B, C, rows, columns] of images [B, 3, H, W], in a tuple."""
        return (self._network[0].forward_features(inputs),)
