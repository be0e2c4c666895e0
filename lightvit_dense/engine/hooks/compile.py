"""Compile the forward pass alone."""

from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from lightvit_dense.errors import UserError
from lightvit_dense.registry import HOOKS
from lightvit_dense.utils.environment import cpp_compiler


@HOOKS.register_module()
class CompileHook(Hook):
    """Compile what a model computes forward by :func:`torch.compile`.

    DistributedDataParallel, the backward pass and the optimizer stay eager around it: traced with
    the rest of a step, they break it into dozens of graphs. Compiled are models whose loss is one
    graph whatever the batch (``one_graph``: pre-trainers and classifiers, frozen teacher included),
    and of all others, whose losses depend on how many boxes there are, backbone and neck. Modules
    are compiled in place, so that parameters keep their names.

    Args:
        **options: Arguments of :func:`torch.compile`.
    """

    def __init__(self, **options: Any) -> None:
        self.options = options

    def before_run(self, runner: Runner) -> None:
        """Compile, when the first batch comes; a UserError without what that needs."""
        inductor = self.options.get('backend', 'inductor') == 'inductor'
        if inductor and not torch.cuda.is_available() and cpp_compiler() is None:
            raise UserError('engine.compile needs a C++ compiler here: install g++ or clang++')
        parts = parts_to_compile(runner.model)
        for part in parts.values():
            if part._compiled_call_impl is None:
                part.compile(**self.options)
        runner.logger.info(f'{", ".join(parts)}: compiled when the first batch comes')


def parts_to_compile(model: nn.Module) -> dict[str, nn.Module]:
    """Return the modules that are compiled, by name; see :class:`CompileHook`."""
    while isinstance(inner := getattr(model, 'module', None), nn.Module):
        model = inner  # of DistributedDataParallel, or of test-time augmentation
    if getattr(model, 'one_graph', False):
        return {'model': model}
    parts = {name: getattr(model, name, None) for name in ('backbone', 'neck')}
    found = {f'model.{name}': part for name, part in parts.items() if isinstance(part, nn.Module)}
    if not found:
        raise UserError(f'engine.compile: {type(model).__name__} has no backbone to compile')
    return found
