"""The plan of the small study and what is made of its results."""

import json
from pathlib import Path

import pytest

from lightvit_dense.suite import study as module
from lightvit_dense.suite.study import INITS, SETTINGS, Scale, Study


def read_config(path, options):
    """Stand for a config: what the plan reads of it, and every option, so that keys notice."""
    return {'path': path, 'train_cfg': {'max_iters': 300}, 'options': dict(options)}


@pytest.fixture
def study(tmp_path):
    def make(**changes):
        given = dict(settings=SETTINGS, seeds=(0, 1, 2), read_config=read_config, command=['train'])
        return Study(**given | dict(work_dir=tmp_path, data_root=Path('/data')) | changes)

    return make


def options_of(stage):
    words = list(stage.command)
    return dict(word.split('=', 1) for word in words[words.index('--cfg-options') + 1 :])


def test_every_set_is_pretrained_once_and_every_setting_finetuned_by_seed_and_init(study):
    stages = study().stages
    names = [stage.name for stage in stages]
    assert len(set(names)) == len(names) == 4 * 4 + 5 * 3 * 4
    for place, stage in enumerate(stages):
        assert set(stage.after) <= set(names[:place])
    known = {stage.name: stage for stage in stages}
    assert known['finetune_fashion-1_dmae_seed-2'].after == ['pretrain_small_fashion-mnist_dmae']
    assert known['pretrain_small_fashion-mnist_dmae'].after == [
        'pretrain_small_fashion-mnist_mae_teacher'
    ]
    assert known['finetune_fashion_scratch_seed-0'].after == []


def test_the_initialisations_differ_in_nothing_else(study):
    known = {stage.name: options_of(stage) for stage in study().stages}
    for seed in range(3):
        runs = [known[f'finetune_toyworld_{init}_seed-{seed}'] for init in INITS]
        checkpoints = [run.pop('model.backbone.init_cfg.checkpoint', None) for run in runs]
        assert runs[0] == runs[1] == runs[2] == runs[3]
        assert checkpoints[0] is None
        assert len(set(checkpoints)) == 4
        assert runs[0]['randomness.seed'] == str(seed)
        assert runs[0]['train_dataloader.dataset.subset_seed'] == str(seed)
        assert runs[0]['model.head.num_classes'] == '6'


def test_pretraining_sees_no_labels_and_not_the_validation_images(study):
    for stage in study().stages:
        if stage.group == 'pretrain':
            options = options_of(stage)
            assert not any('fraction' in key or 'val_dataloader' in key for key in options)
            assert stage.outputs[0].name == 'backbone.safetensors'


def test_a_change_of_the_teacher_reaches_all_that_follows_from_it(study):
    def changed(path, options):
        extra = {'lr': 1} if path.endswith('mae_teacher.py') else {}
        return read_config(path, options) | extra

    before = {s.name: s.key for s in study().stages}
    after = {s.name: s.key for s in study(read_config=changed).stages}
    moved = {name for name in before if before[name] != after[name]}
    assert moved == {n for n in before if 'dmae' in n or 'd2mae' in n or 'teacher' in n}


def test_a_scale_sets_the_length_and_the_schedule_with_it(study):
    stages = study(scale=Scale(40, 20), inits=('scratch', 'mae')).stages
    assert len(stages) == 4 + 5 * 3 * 2  # no teacher without D-MAE
    for stage in stages:
        # What the settings say of pre-training gives way to it.
        count = '40' if stage.group == 'pretrain' else '20'
        options = options_of(stage)
        assert options['train_cfg.max_iters'] == options['param_scheduler.end'] == count
        assert int(options['param_scheduler.warmup']) == 2


def log(folder, top1):
    (folder / 'run/vis_data').mkdir(parents=True)
    line = json.dumps({'accuracy/top1': top1, 'step': 300})
    (folder / 'run/vis_data/scalars.json').write_text(line)


@pytest.fixture
def results(study, tmp_path):
    plan = study(settings=SETTINGS[:2])
    top1 = {
        'scratch': (60.0, 62.0, 64.0),
        'mae': (70.0, 72.0, 74.0),
        'dmae': (60.0, 61.0, 65.0),
        'd2mae': (80.0, 80.0, 80.0),
    }
    for setting in SETTINGS[:2]:
        for init, values in top1.items():
            for seed, value in enumerate(values):
                log(tmp_path / module.run_name(setting, init, seed), value)
    return plan.results()


def test_results_hold_means_deviations_and_paired_gains(results):
    inits = results['settings'][0]['inits']
    assert (inits['scratch']['mean'], inits['scratch']['deviation']) == (62.0, 2.0)
    assert (inits['mae']['gain'], inits['mae']['gain_deviation']) == (10.0, 0.0)
    assert inits['dmae']['gain'] == 0.0
    assert inits['dmae']['gain_deviation'] == 1.0
    assert 'gain' not in inits['scratch']
    assert json.loads(json.dumps(results))['runs'][0] == {
        'setting': 'digits',
        'init': 'scratch',
        'seed': 0,
        'top1': 60.0,
    }
    lines = module.markdown(results).splitlines()
    row = '| 62.0 ± 2.0 | 72.0 ± 2.0 | 62.0 ± 2.6 | 80.0 ± 0.0 | +10.0 ± 0.0 | +0.0 ± 1.0 |'
    assert row in lines[2]
    assert module.csv_of_runs(results).splitlines()[1] == 'digits,scratch,0,60.0'


def test_the_picture_shows_means_deviations_and_runs(results):
    axes = module.draw(results).axes[0]
    means = [box[0].get_ydata().tolist() for box in axes.containers]
    assert means == [[62.0, 62.0], [72.0, 72.0], [62.0, 62.0], [80.0, 80.0]]
    segments = axes.containers[1][2][0].get_segments()
    assert [part[:, 1].tolist() for part in segments] == [[70.0, 74.0]] * 2
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert legend == list(INITS.values())
