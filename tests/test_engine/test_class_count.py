from types import SimpleNamespace

import pytest

from lightvit_dense.engine.hooks import ClassCountHook
from lightvit_dense.errors import UserError


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
