import pytest
import torch
from mmengine.model import ImgDataPreprocessor
from mmengine.structures import BaseDataElement

from lightvit_dense.models import ImagePreprocessor
from tests.helpers.models import MEAN, STD

RGB = dict(mean=MEAN, std=STD)


def images(batch=4, size=(10, 14)):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (batch, 3, *size), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize('bgr', [False, True])
@pytest.mark.parametrize('form', ['planes', 'channels last', 'list'])
def test_same_as_mmengine_bit_for_bit(form, bgr):
    batch = images()
    mirror = torch.tensor([True, False, False, True])
    mirrored = torch.stack([x.flip(-1) if m else x for x, m in zip(batch, mirror, strict=True)])
    reference = ImgDataPreprocessor(**RGB, bgr_to_rgb=bgr)({'inputs': mirrored})['inputs']
    given = {
        'planes': batch.clone(),
        'channels last': batch.contiguous(memory_format=torch.channels_last),
        'list': list(batch),
    }[form]
    out = ImagePreprocessor(**RGB, bgr_to_rgb=bgr)({'inputs': given, 'flip': mirror})
    assert out['inputs'].equal(reference)
    assert out['inputs'].dtype == torch.float32
    assert out['inputs'].is_contiguous()
    assert set(out) == {'inputs', 'data_samples'}


def test_a_batch_can_be_used_again():
    """Hooks preprocess the batch that the model has trained on."""
    floats = images().float()
    batch = {'inputs': floats.clone(), 'flip': [True] * 4}
    preprocess = ImagePreprocessor(**RGB)
    first = preprocess(batch, True)['inputs']
    assert batch['inputs'].equal(floats)
    assert preprocess(batch, False)['inputs'].equal(first)


def test_samples_are_handed_on():
    samples = [BaseDataElement(metainfo=dict(img_path=str(k))) for k in range(4)]
    preprocess = ImagePreprocessor(**RGB)
    out = preprocess({'inputs': images(), 'data_samples': samples, 'index': torch.arange(4)})
    assert out['data_samples'] is samples
    assert out['index'].tolist() == [0, 1, 2, 3]
    for sample in samples:
        sample.mask = torch.ones(2)
    out = preprocess({'inputs': images(), 'data_samples': samples})
    assert [sample.img_path for sample in out['data_samples']] == ['0', '1', '2', '3']
    assert preprocess({'inputs': images()})['data_samples'] is None


def test_tensors_of_samples_follow_the_device():
    samples = [BaseDataElement(mask=torch.ones(2))]
    preprocess = ImagePreprocessor(**RGB).to('meta')
    out = preprocess({'inputs': images(1), 'data_samples': samples, 'flip': torch.ones(1) > 0})
    assert out['inputs'].device.type == 'meta'
    assert out['data_samples'][0].mask.device.type == 'meta'


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match='three numbers'):
        ImagePreprocessor(mean=[1.0], std=[1.0])
    with pytest.raises(ValueError, match='positive'):
        ImagePreprocessor(mean=[1.0, 2, 3], std=[1.0, 0, 1])
    preprocess = ImagePreprocessor(**RGB)
    with pytest.raises(ValueError, match=r'differ in size.*\(3, 4, 4\), \(3, 4, 5\)'):
        preprocess({'inputs': [torch.zeros(3, 4, 4), torch.zeros(3, 4, 5)]})
    with pytest.raises(ValueError, match=r'\[B, 3, H, W\], got \(2, 1, 4, 4\)'):
        preprocess({'inputs': torch.zeros(2, 1, 4, 4)})
