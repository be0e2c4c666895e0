import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmengine.registry import FUNCTIONS, TRANSFORMS
from mmengine.structures import BaseDataElement
from torch.utils.data import DataLoader

from lightvit_dense.datasets import DatasetError, PackImage, collate_images


def packed(number, size=(6, 8), flip=None, label=None):
    image = np.random.RandomState(number).randint(0, 256, (*size, 3), np.uint8)
    results = {'img': image, 'img_path': f'{number}.jpg'}
    if flip is not None:
        results['flip_flag'] = flip
    if label is not None:
        results['gt_label'] = label
    return image, PackImage()(results)


def test_packing_copies_nothing():
    image, sample = packed(0)
    assert sample['inputs'].shape == (3, 6, 8)
    assert sample['inputs'].data_ptr() == image.ctypes.data


@pytest.mark.parametrize('flaw', ['read-only', 'backwards'])
def test_packing_copies_what_torch_cannot_take(flaw):
    image = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    given = image[:, ::-1] if flaw == 'backwards' else image.view()
    given.flags.writeable = flaw == 'backwards'
    inputs = PackImage()({'img': given})['inputs']
    assert np.array_equal(inputs.permute(1, 2, 0).numpy(), given)


def test_batch_holds_images_samples_and_flips():
    images, samples = zip(*[packed(k, flip=k == 1, label=k + 5) for k in range(3)], strict=True)
    batch = FUNCTIONS.get('lightvit_dense.collate_images')(list(samples))
    assert batch['inputs'].dtype == torch.uint8
    assert batch['inputs'].is_contiguous(memory_format=torch.channels_last)
    assert np.array_equal(batch['inputs'].permute(0, 2, 3, 1).numpy(), np.stack(images))
    assert batch['flip'].tolist() == [False, True, False]
    assert [sample.gt_label for sample in batch['data_samples']] == [5, 6, 7]
    assert [sample.img_path for sample in batch['data_samples']] == ['0.jpg', '1.jpg', '2.jpg']


def test_other_layouts_make_the_same_batch():
    _, sample = packed(4)
    planes = {**sample, 'inputs': sample['inputs'].contiguous()}
    batch = collate_images([sample, planes])['inputs']
    assert batch[0].equal(batch[1])
    assert 'flip' not in collate_images([sample])


class Samples(torch.utils.data.Dataset):
    def __len__(self):
        return 5

    def __getitem__(self, number):
        return packed(number, flip=number % 2 == 0)[1]


def test_workers_hand_over_shared_memory():
    alone = list(DataLoader(Samples(), 2, collate_fn=collate_images))
    by_workers = list(DataLoader(Samples(), 2, num_workers=2, collate_fn=collate_images))
    assert [len(batch['inputs']) for batch in by_workers] == [2, 2, 1]
    for one, two in zip(alone, by_workers, strict=True):
        assert one['inputs'].equal(two['inputs'])
        assert one['flip'].equal(two['flip'])
        assert two['inputs'].is_shared()
        assert two['inputs'].is_contiguous(memory_format=torch.channels_last)
        assert isinstance(two['data_samples'][0], BaseDataElement)


def test_sizes_must_agree():
    with pytest.raises(DatasetError, match=r'\(3, 6, 8\) and \(3, 6, 9\).*crop'):
        collate_images([packed(0)[1], packed(1, (6, 9))[1]])


def test_mmcvs_flip_is_not_done_a_second_time_on_the_device():
    """mmcv's key 'flip' says that an image has been flipped; ours is 'flip_flag'."""
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    steps = [
        dict(type='mmcv.RandomFlip', prob=1.0),
        dict(type='lightvit_dense.RandomFlipFlag', prob=1.0),
        dict(type='lightvit_dense.PackImage'),
    ]
    results = {'img': image, 'img_path': 'a'}
    by_mmcv = Compose([TRANSFORMS.build(steps[0]), TRANSFORMS.build(steps[2])])(dict(results))
    assert by_mmcv['data_samples'].flip
    batch = collate_images([by_mmcv])
    assert 'flip' not in batch
    assert np.array_equal(batch['inputs'][0].permute(1, 2, 0), image[:, ::-1])
    both = Compose([TRANSFORMS.build(step) for step in steps])(dict(results))
    assert collate_images([both])['flip'].tolist() == [True]
