"""Parameters of equal settings share a group of the optimizer."""

from collections.abc import Sequence
from typing import Any, ClassVar

from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from torch import Tensor, nn
from torch.optim import Optimizer

from lightvit_dense.registry import OPTIM_WRAPPER_CONSTRUCTORS

NO_SETTINGS = ('params', 'param_names', 'lr_mult', 'decay_mult')


def _settings(group: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in group.items() if k not in NO_SETTINGS and v is not None}


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class OptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """mmengine's constructor with a group a setting: a fused optimizer is called once for each."""

    # The last bits of a norm of norms depend on their order, which grouping must not change.
    clips_in_model_order: ClassVar[bool] = True

    def add_params(
        self, params: list[dict], module: nn.Module, prefix: str = '', **kwargs: Any
    ) -> None:
        """Group the parameters that are trained by their settings; shared ones count once."""
        self.paramwise_cfg.setdefault('bypass_duplicate', True)
        super().add_params(params, module, prefix, **kwargs)
        if prefix:
            return
        names = {id(parameter): name for name, parameter in module.named_parameters()}
        merged: list[dict[str, Any]] = []
        for single in params:
            settings = _settings({'lr': self.base_lr, 'weight_decay': self.base_wd, **single})
            group = next((g for g in merged if _settings(g) == settings), None)
            if group is None:
                group = {'params': [], 'param_names': [], **settings}
                merged.append(group)
            group['params'] += single['params']
            group['param_names'] += [names[id(parameter)] for parameter in single['params']]
        print_log(f'{len(params)} parameters in {len(merged)} groups', logger='current')
        params[:] = merged

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the wrapper of a model's optimizer."""
        wrapper = super().__call__(model)
        if wrapper.clip_grad_kwargs:
            clip, order = wrapper.clip_func, {id(p): i for i, p in enumerate(model.parameters())}

            def clip_and_log(parameters: Sequence[Tensor], **options: Any) -> None:
                if self.clips_in_model_order:
                    parameters = sorted(parameters, key=lambda p: order[id(p)])
                norm = clip(parameters, **options)
                if norm is not None:
                    wrapper.message_hub.update_scalar(f'train/{wrapper.grad_name}', norm)

            wrapper.clip_func = clip_and_log
        return wrapper


def merge_saved_groups(checkpoint: dict[str, Any], optimizer: Optimizer, model: nn.Module) -> None:
    """Merge mmengine's one-parameter groups in a checkpoint to those of the optimizer."""
    saved, groups = checkpoint['optimizer'], optimizer.param_groups
    old, trained = saved['param_groups'], {id(p) for group in groups for p in group['params']}
    order = {id(p): i for i, p in enumerate(p for p in model.parameters() if id(p) in trained)}
    if len(old) != len(order) or any(len(group['params']) != 1 for group in old):
        return
    now = [[order[id(p)] for p in group['params']] for group in groups]
    if any(_settings(old[i]) != _settings(old[group[0]]) for group in now for i in group):
        return
    new = {i: number for number, i in enumerate(i for group in now for i in group)}
    saved['state'] = {new[i]: state for i, state in saved['state'].items()}
    saved['param_groups'] = [
        {**own, **_settings(old[places[0]]), 'params': [new[i] for i in places]}
        for own, places in zip(groups, now, strict=True)
    ]
    for state in checkpoint.get('param_schedulers') or ():
        for key in {'base_values', '_last_value', 'min_values'} & state.keys():
            values = state[key]  # one for each group, and mmengine's base at the end
            state[key] = [values[places[0]] for places in now] + values[len(old) :]
