from lightvit_dense.suite import overrides


def test_paths_follow_moved_folders():
    config = {
        'model': {'init_cfg': {'checkpoint': 'work_dirs/a/backbone.safetensors'}},
        'hooks': [{'file': 'work_dirs/b/x.json'}, {'file': 'work_dirs/a_long/x.json'}],
        'work_dir': 'work_dirs/a',
        'lr': 0.1,
    }
    moves = {'work_dirs/a': '/new/one', 'work_dirs/b': 'two'}
    assert overrides.relocate(config, moves) == {
        'model.init_cfg.checkpoint': '/new/one/backbone.safetensors',
        'hooks.0.file': 'two/x.json',
    }


def test_few_iterations_of_both_kinds_of_loops():
    by_iteration = overrides.few_iterations({'train_cfg': {'max_iters': 600}}, 3)
    assert by_iteration['train_cfg.max_iters'] == by_iteration['train_cfg.val_interval'] == 3
    by_epoch = overrides.few_iterations({'train_cfg': {'max_epochs': 10}}, 2)
    assert by_epoch['train_cfg.max_epochs'] == 2
    assert 'train_cfg.max_iters' not in by_epoch


def test_final_checkpoint():
    assert overrides.final_checkpoint({'train_cfg': {'max_iters': 600}}) == 'iter_600.pth'
    assert overrides.final_checkpoint({'train_cfg': {'max_epochs': 9}}) == 'epoch_9.pth'


def test_arguments():
    assert overrides.as_arguments({}) == []
    assert overrides.as_arguments({'a.b': 1, 'c': 'd'}) == ['--cfg-options', 'a.b=1', 'c=d']
