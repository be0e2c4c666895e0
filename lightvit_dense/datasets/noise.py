"""A batch of noise, to try or to time a training without its data."""

from typing import Any

import torch
from mmengine.config import Config
from mmengine.structures import PixelData
from torch import Tensor
from torch.utils._pytree import tree_map
from torch.utils.data import Dataset

from lightvit_dense.registry import DATASETS, FUNCTIONS


def noise_for(cfg: Config, images: int, side: int) -> dict[str, Any]:
    """Return the config of a :class:`NoiseBatch` that suits a config's model."""
    made = dict(type='lightvit_dense.NoiseBatch', images=images, side=side, kind=cfg.default_scope)
    return made | dict(template=cfg.model.get('template_size'))


@DATASETS.register_module()
class NoiseBatch(Dataset):
    """A data set of one item, a batch of uint8 images with labels of 6 classes; pinned for a GPU.

    Args:
        images: Images of the batch.
        side: Their height and width in pixels.
        kind: 'mmdet' for 7 objects an image, 'mmseg' for label maps, else a label an image.
        template: Height and width in pixels of a tracker's template crops.
    """

    def __init__(self, images: int, side: int, kind: str, template: int | None = None) -> None:
        from mmdet.testing import demo_mm_inputs  # takes seconds to import

        shapes, objects = [[3, side, side]] * images, kind == 'mmdet'
        batch = demo_mm_inputs(images, shapes, [7] * images, 6, with_mask=objects)
        for number, sample in enumerate(batch['data_samples']):
            if not objects:
                del sample.gt_instances, sample.ignored_instances
            if kind == 'mmseg':
                sample.gt_sem_seg = PixelData(data=torch.randint(6, (1, side, side)))
            elif template:
                sample.template_box = sample.search_box = torch.tensor([0.3, 0.3, 0.4, 0.4])
            elif not objects:
                sample.gt_label = number % 6
        if kind not in ('mmdet', 'mmseg'):  # whose loaders stack nothing
            batch['inputs'] = stack = torch.stack(batch['inputs'])
            if template:
                batch['inputs'] = dict(template=stack[..., :template, :template], search=stack)
        if torch.cuda.is_available():
            batch['inputs'] = tree_map(Tensor.pin_memory, batch['inputs'])
        self.batch = batch

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> dict[str, Any]:
        return dict(self.batch)  # whoever moves it to the device may write into it


@FUNCTIONS.register_module()
def only_item(items: list[Any]) -> Any:
    """Collate the one item of a batch, which is a batch itself."""
    return items[0]
