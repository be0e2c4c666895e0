"""No worker outlives the run that started it."""

import multiprocessing

import pytest

from lightvit_dense import apis


@pytest.mark.parametrize('by_epoch', [True, False])
@pytest.mark.parametrize('fails', [True, False])
def test_no_worker_is_left(write, tmp_path, by_epoch, fails) -> None:
    before = set(multiprocessing.active_children())
    options = {'train_dataloader.num_workers': 2, 'train_dataloader.persistent_workers': True}
    if fails:
        options['train_dataloader.dataset.bad_item'] = 3
        options['custom_hooks'] = [dict(type='lightvit_dense.NonFiniteLossGuard')]
    config = apis.load_config(write(by_epoch=by_epoch, length=2 if by_epoch else 9), options)
    if fails:
        with pytest.raises(Exception, match='training stopped'):
            apis.train(config, work_dir=tmp_path / 'w')
    else:
        apis.train(config, work_dir=tmp_path / 'w')
    assert set(multiprocessing.active_children()) <= before
