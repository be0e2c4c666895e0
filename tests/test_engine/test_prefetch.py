"""Batches that are copied to the GPU beside the computation."""

from types import SimpleNamespace

import torch
from mmengine.model import BaseDataPreprocessor
from mmengine.structures import BaseDataElement

from lightvit_dense.engine import hooks
from lightvit_dense.engine.hooks.prefetch import move_batch


def test_a_batch_is_moved_with_its_objects_and_flat_samples_stay() -> None:
    preprocessor = BaseDataPreprocessor()
    model = SimpleNamespace(data_preprocessor=preprocessor)
    plain = [BaseDataElement(metainfo=dict(img_id=1))]
    pair = [BaseDataElement(search_box=torch.ones(4))]  # its model stacks the boxes
    labelled = [BaseDataElement(gt=BaseDataElement(labels=torch.ones(2)))]
    for samples in (plain, pair, labelled, None):
        batch = dict(inputs=[torch.ones(3)], data_samples=samples)
        hook = hooks.PrefetchHook()
        hook.before_train(SimpleNamespace(model=model))
        hook.before_train_iter(None, 0, batch)
        assert batch['inputs'][0].device.type == 'cpu'  # no GPU, nothing to do
        preprocessor._device = torch.device('meta')
        move_batch(batch, preprocessor)
        preprocessor._device = torch.device('cpu')
        assert batch['inputs'][0].is_meta
        assert (batch['data_samples'] is samples) == (samples is not labelled)
