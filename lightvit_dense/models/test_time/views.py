"""Taking a batch of augmented images apart."""

from collections.abc import Iterator
from typing import Any

from mmengine.model import is_model_wrapper
from torch import nn


def split_views(data: dict[str, list[list]]) -> Iterator[dict[str, list]]:
    """Yield the batch of each view of what ``mmcv.TestTimeAug`` gives, collated view by view."""
    for index in range(len(data['inputs'])):
        yield {key: values[index] for key, values in data.items()}


def bare(module: nn.Module) -> Any:
    """Return a model without its distributed wrapper."""
    return module.module if is_model_wrapper(module) else module
