import torch

from lightvit_dense.analysis import synthetic


def test_checkpoints_are_stripped_and_nothing_else():
    config = {
        'init_cfg': {'type': 'Pretrained', 'checkpoint': 'a.pth'},
        'head': {'init_cfg': {'type': 'Normal', 'std': 0.01}},
        'parts': [{'init_cfg': [{'type': 'X', 'checkpoint': 'b'}], 'n': 1}],
        'pair': (1, 2),
    }
    assert synthetic.strip_checkpoints(config) == {
        'head': {'init_cfg': {'type': 'Normal', 'std': 0.01}},
        'parts': [{'n': 1}],
        'pair': (1, 2),
    }


def test_pretraining_batch():
    batch = synthetic.pretraining_batch(3, 32)
    assert [x.shape for x in batch['inputs']] == [(3, 32, 32)] * 3
    assert batch['inputs'][0].dtype == torch.uint8
    again = synthetic.pretraining_batch(3, 32)
    assert torch.equal(batch['inputs'][2], again['inputs'][2])


def test_masks_fill_their_boxes():
    batch = synthetic.detection_batch(2, 64, num_classes=5, objects=4)
    for sample in batch['data_samples']:
        truth = sample.gt_instances
        assert len(truth) == 4
        assert ((truth.labels >= 0) & (truth.labels < 5)).all()
        boxes = truth.bboxes.tensor
        assert (boxes >= 0).all()
        assert (boxes <= 64).all()
        tight = truth.masks.get_bboxes(dst_type='hbox').tensor
        assert (tight - boxes).abs().max() <= 1.5
