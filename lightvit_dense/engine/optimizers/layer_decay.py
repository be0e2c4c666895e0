"""Smaller learning rates for lower layers (BEiT; MAE, appendix A.1)."""

from typing import Any

from mmengine.logging import print_log
from torch import nn

from lightvit_dense.engine.optimizers.groups import OptimWrapperConstructor
from lightvit_dense.errors import UserError
from lightvit_dense.registry import OPTIM_WRAPPER_CONSTRUCTORS
from lightvit_dense.utils.layer_depth import get_layer_id

NO_DECAY = ('pos_embed', 'cls_token', 'mask_token')
KEYS = ('layer_decay_rate', 'num_layers', 'no_decay', 'last_id')


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(OptimWrapperConstructor):
    """Learning rate lr * rate ** (L + 1 - id); no weight decay of vectors and positions.

    ``id`` is 0 for the embedding, i + 1 for block i and L + 1 for all that comes after the L blocks
    (:func:`lightvit_dense.utils.layer_depth.get_layer_id`). Schedulers work on each group's own
    rate; give a minimum by ``eta_min_ratio``, which scales with it, not by ``eta_min``.

    Args:
        optim_wrapper_cfg: Config of the wrapper and its optimizer.
        paramwise_cfg: ``layer_decay_rate`` in (0, 1], 1 for the same rate everywhere;
            ``num_layers``, by default the backbone's; ``no_decay``, beginnings of the last part of
            names of parameters that are not decayed besides vectors; ``last_id``, the id of all
            that comes after the blocks, L + 1 by default.

    Raises:
        UserError: If ``paramwise_cfg`` has other keys or a rate out of range, or the optimizer has
            no ``lr`` and ``weight_decay``.
    """

    clips_in_model_order = False

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        # The parent builds groups only where there is a paramwise_cfg.
        given = {'layer_decay_rate': 1.0, **(paramwise_cfg or {})}
        unknown = sorted(set(given) - set(KEYS))
        if unknown:
            raise UserError(
                f'optim_wrapper.paramwise_cfg: {type(self).__name__} knows {", ".join(KEYS)}, not '
                f'{", ".join(unknown)}'
            )
        super().__init__(optim_wrapper_cfg, given)
        self.rate: float = given['layer_decay_rate']
        if not 0 < self.rate <= 1:
            raise UserError(
                f'optim_wrapper.paramwise_cfg.layer_decay_rate must lie in (0, 1], got {self.rate}'
            )
        if self.base_lr is None or self.base_wd is None:
            raise UserError('layer decay needs optim_wrapper.optimizer.lr and .weight_decay')

    def add_params(
        self, params: list[dict], module: nn.Module, prefix: str = '', **kwargs: Any
    ) -> None:
        """Group all parameters that are trained by depth and decay."""
        layers = self._num_layers(module)
        exempt = tuple(self.paramwise_cfg.get('no_decay', NO_DECAY))
        depths = getattr(getattr(module, 'backbone', None), 'depths', ())
        last_id = self.paramwise_cfg.get('last_id', layers + 1)
        groups: dict[tuple[int, bool], dict[str, Any]] = {}
        for name, parameter in module.named_parameters():
            if not parameter.requires_grad:
                continue
            decays = parameter.ndim > 1 and not name.rpartition('.')[2].startswith(exempt)
            depth = get_layer_id(name, layers, depths)
            depth = last_id if depth > layers else depth
            scale = self.rate ** (layers + 1 - depth)
            group = groups.setdefault(
                (depth, decays),
                {
                    'params': [],
                    'param_names': [],
                    'lr': self.base_lr * scale,
                    'lr_scale': scale,
                    'weight_decay': self.base_wd if decays else 0.0,
                },
            )
            group['params'].append(parameter)
            group['param_names'].append(name)
        params += [groups[key] for key in sorted(groups)]
        low = self.rate ** (layers + 1)
        print_log(
            f'{len(params)} parameter groups in {layers} layers; learning rates from {low:.3g} to '
            f'1 times {self.base_lr:g}',
            logger='current',
        )

    def _num_layers(self, model: nn.Module) -> int:
        given = self.paramwise_cfg.get('num_layers')
        found = given or getattr(getattr(model, 'backbone', None), 'num_layers', None)
        if not found:
            raise UserError(
                f'{type(model).__name__} does not tell its number of blocks (backbone.num_layers): '
                'set optim_wrapper.paramwise_cfg.num_layers'
            )
        return int(found)
