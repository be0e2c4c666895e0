"""What hooks do with a model: reach it in its wrapper, evaluate it, leave randomness alone."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from mmengine.model import is_model_wrapper
from torch import nn

from lightvit_dense.errors import UserError


def unwrap(model: nn.Module) -> Any:
    """Return the model inside a distributed wrapper, or the model itself."""
    return model.module if is_model_wrapper(model) else model


def require(model: nn.Module, attribute: str, hook: object) -> Any:
    """Return an attribute of the unwrapped model that a hook cannot do without."""
    value = getattr(unwrap(model), attribute, None)
    if value is None:
        name, kind = type(hook).__name__, type(unwrap(model)).__name__
        raise UserError(
            f'{name} needs a model with {attribute!r}; {kind} has none: remove the hook'
        )
    return value


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode inside the block, and back after it."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


@contextmanager
def separate_randomness(seed: int) -> Iterator[None]:
    """Seed python, numpy and torch inside the block; restore their states after it."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        random.seed(seed)
        np.random.seed(seed & 0xFFFFFFFF)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def check_interval(interval: int, owner: object) -> int:
    """Return ``interval`` if it is a positive whole number."""
    if not isinstance(interval, int) or isinstance(interval, bool) or interval < 1:
        raise ValueError(f'{type(owner).__name__}: interval={interval!r} is no positive integer')
    return interval
