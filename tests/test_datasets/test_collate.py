"""Packing images and making batches of them."""

import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmengine.registry import FUNCTIONS, TRANSFORMS
from mmengine.structures import BaseDataElement
from torch.utils.data import DataLoader

from lightvit_dense.datasets import DatasetError, PackImage, collate_images


def packed(number, size=(6, 8), **results):
    image = np.random.RandomState(number).randint(0, 256, (*size, 3), np.uint8)
    return image, PackImage()({'img': image, 'img_path': f'{number}.jpg'} | results)


def test_packing_copies_nothing_and_makes_the_label_a_field():
    image, packing = packed(0, gt_label=np.int64(7))
    assert packing['inputs'].shape == (3, 6, 8)
    assert packing['inputs'].data_ptr() == image.ctypes.data
    sample = packing['data_samples']
    assert (type(sample.gt_label), sample.gt_label) == (int, 7)
    assert (sample.keys(), sample.img_path) == (['gt_label'], '0.jpg')
    assert 'gt_label' not in packed(1)[1]['data_samples']


@pytest.mark.parametrize('flaw', ['read-only', 'backwards'])
def test_packing_copies_what_torch_cannot_take(flaw):
    image = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    given = image[:, ::-1] if flaw == 'backwards' else image.view()
    given.flags.writeable = flaw == 'backwards'
    inputs = PackImage()({'img': given})['inputs']
    assert np.array_equal(inputs.permute(1, 2, 0).numpy(), given)


def test_batch_holds_images_samples_and_flips():
    images, samples = zip(
        *[packed(k, flip_flag=k == 1, gt_label=k + 5) for k in range(3)], strict=True
    )
    batch = FUNCTIONS.get('lightvit_dense.collate_images')(list(samples))
    assert batch['inputs'].dtype == torch.uint8
    assert batch['inputs'].is_contiguous(memory_format=torch.channels_last)
    assert np.array_equal(batch['inputs'].permute(0, 2, 3, 1).numpy(), np.stack(images))
    assert batch['flip'].tolist() == [False, True, False]
    found = [(sample.img_path, sample.gt_label) for sample in batch['data_samples']]
    assert found == [('0.jpg', 5), ('1.jpg', 6), ('2.jpg', 7)]


def test_layouts_may_differ_and_sizes_must_agree():
    _, sample = packed(4)
    planes = {**sample, 'inputs': sample['inputs'].contiguous()}
    batch = collate_images([sample, planes])
    assert batch['inputs'][0].equal(batch['inputs'][1])
    assert 'flip' not in batch
    with pytest.raises(DatasetError, match=r'\(3, 6, 8\) and \(3, 6, 9\).*crop'):
        collate_images([sample, packed(1, (6, 9))[1]])


def test_workers_hand_over_shared_memory():
    samples = [packed(number, flip_flag=number % 2 == 0)[1] for number in range(5)]
    alone = list(DataLoader(samples, 2, collate_fn=collate_images))
    by_workers = list(DataLoader(samples, 2, num_workers=2, collate_fn=collate_images))
    assert [len(batch['inputs']) for batch in by_workers] == [2, 2, 1]
    for one, two in zip(alone, by_workers, strict=True):
        assert one['inputs'].equal(two['inputs'])
        assert one['flip'].equal(two['flip'])
        assert two['inputs'].is_shared()
        assert two['inputs'].is_contiguous(memory_format=torch.channels_last)
        assert isinstance(two['data_samples'][0], BaseDataElement)


def test_mmcvs_flip_is_not_done_a_second_time_on_the_device():
    """mmcv's key 'flip' says that an image has been flipped; ours is 'flip_flag'."""
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    kinds = ('mmcv.RandomFlip', 'lightvit_dense.RandomFlipFlag')
    mmcvs, ours = (TRANSFORMS.build(dict(type=kind, prob=1.0)) for kind in kinds)
    results = {'img': image, 'img_path': 'a'}
    by_mmcv = Compose([mmcvs, PackImage()])(dict(results))
    assert by_mmcv['data_samples'].flip
    batch = collate_images([by_mmcv])
    assert 'flip' not in batch
    assert np.array_equal(batch['inputs'][0].permute(1, 2, 0), image[:, ::-1])
    both = Compose([mmcvs, ours, PackImage()])(dict(results))
    assert collate_images([both])['flip'].tolist() == [True]
