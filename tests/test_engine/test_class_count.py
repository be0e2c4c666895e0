from types import SimpleNamespace

import pytest

from lightvit_dense.engine.hooks import ClassCountHook
from lightvit_dense.errors import UserError

part = SimpleNamespace


def head(number):
    return part(num_classes=number)


def make_runner(own, classes):
    dataset = SimpleNamespace(metainfo={} if classes is None else {'classes': classes})
    loop = SimpleNamespace(dataloader=SimpleNamespace(dataset=dataset))
    model = SimpleNamespace() if own is None else SimpleNamespace(num_classes=own)
    return SimpleNamespace(model=model, train_loop=loop, val_loop=loop, test_loop=loop)


@pytest.mark.parametrize('when', ['before_train', 'before_val', 'before_test'])
def test_other_classes_are_refused_whenever_data_is_read(when):
    check = getattr(ClassCountHook(), when)
    check(make_runner(3, 'abc'))
    with pytest.raises(UserError, match=r'has 3 classes, the model 4.*head\.num_classes'):
        check(make_runner(4, 'abc'))


@pytest.mark.parametrize(('own', 'classes'), [(None, 'abc'), (3, None), (3, ())])
def test_what_names_no_classes_passes(own, classes):
    ClassCountHook().before_train(make_runner(own, classes))


@pytest.mark.parametrize(
    ('model', 'keys'),
    [
        (
            dict(roi_head=part(bbox_head=head(80), mask_head=head(80))),
            'model.roi_head.bbox_head.num_classes and model.roi_head.mask_head.num_classes',
        ),
        (dict(roi_head=part(bbox_head=[head(3), head(80)])), 'bbox_head'),
        (dict(num_classes=150, decode_head=head(150)), 'Set model.decode_head.num_classes to'),
        (dict(decode_head=head(3), auxiliary_head=head(150)), 'Set model.auxiliary_head.num_class'),
    ],
)
def test_detectors_and_segmentors_are_known_by_their_heads(model, keys):
    runner = make_runner(None, 'abc')
    runner.model = part(**model)
    with pytest.raises(UserError, match=rf'has 3 classes, the model (80|150)\..*{keys}'):
        ClassCountHook().before_train(runner)


def test_a_proposal_network_has_no_classes_of_the_data():
    runner = make_runner(None, 'abc')
    runner.model = part(rpn_head=head(1), roi_head=part(bbox_head=head(3)))
    ClassCountHook().before_train(runner)
