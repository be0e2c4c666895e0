"""Everything missing is named before anything starts, and no worker outlives a run."""

import json
import multiprocessing

import pytest
from mmengine.config import Config

from lightvit_dense import apis
from lightvit_dense.apis.preflight import find_assets, find_missing
from lightvit_dense.errors import UserError
from tests.helpers.data_sets import write_image

DATA = """
_coco = dict(
    type='lightvit_dense.ToyPoints',
    data_root='{root}/coco/',
    ann_file='annotations/train.json',
    data_prefix=dict(img='train/'))
train_dataloader['dataset'] = dict(type='RepeatDataset', times=2, dataset=_coco)
val_dataloader = dict(dataset=dict(_coco, ann_file='annotations/val.json'))
val_evaluator = [dict(type='X', ann_file='{root}/coco/annotations/val.json')]
val_cfg = dict()
_init = dict(type='lightvit_dense.PretrainedBackbone', checkpoint='{root}/teacher.pth')
model['backbone']['init_cfg'] = dict(type='Pretrained', checkpoint='{root}/backbone.pth')
model['distiller'] = dict(teacher=dict(init_cfg=_init))
"""


def test_every_missing_path_is_named(write, tmp_path) -> None:
    config = write(extra=DATA.format(root=tmp_path))
    with pytest.raises(UserError) as caught:
        apis.check_training(config)
    message = str(caught.value)
    for path, key in {
        'coco/annotations/train.json': 'train_dataloader.dataset.dataset.ann_file',
        'coco/train/': 'train_dataloader.dataset.dataset.data_prefix.img',
        'coco/annotations/val.json': 'val_dataloader.dataset.ann_file',
        'backbone.pth': 'model.backbone.init_cfg.checkpoint',
        'teacher.pth': 'model.distiller.teacher.init_cfg.checkpoint',
    }.items():
        assert f'{tmp_path}/{path}  ({key})' in message
    assert message.count('val.json') == 1
    assert 'needs 5 file(s)' in message
    assert "section 'Prepare data'" in message
    assert "section 'Pre-trained checkpoints'" in message
    for path in ('coco/annotations/train.json', 'coco/annotations/val.json', 'teacher.pth'):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    (tmp_path / 'coco/train').mkdir()
    missing = find_missing(apis.load_config(config))
    assert [asset.path for asset in missing] == [f'{tmp_path}/backbone.pth']
    (tmp_path / 'backbone.pth').touch()
    assert not find_missing(apis.load_config(config))


def test_checkpoints_and_the_configs_own_help(write) -> None:
    config = write(extra="\nhelp = 'Ask Ada.'\nload_from = 'nowhere.pth'\n")
    with pytest.raises(UserError, match=r'nowhere.pth  \(load_from\)\nAsk Ada.$'):
        apis.check_training(config)
    with pytest.raises(UserError, match=r'gone.pth  \(--resume\)'):
        apis.check_training(write(), resume='gone.pth')
    apis.check_training(write(), resume='auto')
    config = write(extra="\nload_from = 's3://bucket/x.pth'\n")
    assert 'not checked, because not local: s3://bucket/x.pth' in apis.check_training(config)


def test_what_several_processes_cannot_use(write, monkeypatch) -> None:
    monkeypatch.setenv('LOCAL_WORLD_SIZE', '4')
    monkeypatch.setattr('torch.cuda.is_available', lambda: True)
    monkeypatch.setattr('torch.cuda.device_count', lambda: 2)
    for key, value, message in (
        ('timeout', '30 min', "dist_cfg.timeout='30 min': expected a number of seconds"),
        ('time_out', 5, "dist_cfg names 'time_out'.*Did you mean 'timeout'"),
        ('backend', 'nccl', '4 processes, one a GPU, but this machine shows 2 GPU'),
    ):
        with pytest.raises(UserError, match=message):
            apis.check_training(write(), cfg_options={f'env_cfg.dist_cfg.{key}': value})


def test_paths_are_joined_as_datasets_join_them() -> None:
    dataset = dict(data_root='root', ann_file='/abs.json', data_prefix='img', img_dir='')
    cfg = Config(dict(train_dataloader=dict(dataset=dataset)))
    assert [asset.path for asset in find_assets(cfg)] == ['/abs.json', 'root/img']
    cfg = Config(dict(train_dataloader=dict(dataset=dict(data_root='root', ann_file=''))))
    assert [(a.path, a.key) for a in find_assets(cfg)] == [
        ('root', 'train_dataloader.dataset.data_root')
    ]


def test_testing_needs_test_data_and_its_checkpoint_only(write, tmp_path) -> None:
    config = write(extra=DATA.format(root=tmp_path))
    with pytest.raises(UserError, match='needs 1 file'):
        apis.check_testing(config, tmp_path / 'x.pth')
    (tmp_path / 'x.pth').touch()
    assert 'all 1 local' in apis.check_testing(config, tmp_path / 'x.pth')


IMAGENET = """
_images = dict(
    type='lightvit_dense.ImageNet',
    data_root='{root}/imagenet/',
    img_dir='train',
    ann_file='lists/1percent.txt',
    classes='classes.txt',
    source='{source}',
    lmdb_path='imagenet.lmdb',
    packed_path='i.packed')
train_dataloader['dataset'] = _images
val_dataloader = dict(dataset=dict(_images, img_dir='val', ann_file='', classes='train'))
val_evaluator = dict(type='lightvit_dense.Accuracy')
val_cfg = dict()
"""


_LISTS = {'lists/1percent.txt': 'train.ann_file', 'classes.txt': 'train.classes'}


@pytest.mark.parametrize(
    ('source', 'wanted'),
    [
        ('folder', _LISTS | {'train': 'train.img_dir', 'val': 'val.img_dir'}),
        ('lmdb', _LISTS | {'imagenet.lmdb': 'train.lmdb_path'}),
        ('packed', _LISTS | {'i.packed': 'train.packed_path'}),
    ],
)
def test_missing_imagenet_is_named_by_its_source(write, tmp_path, source, wanted) -> None:
    config = write(extra=IMAGENET.format(root=tmp_path, source=source))
    missing = find_missing(apis.load_config(config))
    assert {asset.path: asset.key for asset in missing} == {
        f'{tmp_path}/imagenet/{path}': key.replace('.', '_dataloader.dataset.')
        for path, key in wanted.items()
    }
    for path in wanted:
        (tmp_path / 'imagenet' / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / 'imagenet' / path).touch()
    assert not find_missing(apis.load_config(config))


COCO = """
val_dataloader = dict(dataset=dict(
    type='lightvit_dense.CocoDataset',
    data_root='{root}',
    ann_file='truth.json',
    data_prefix=dict(img=''),
    metainfo=dict(classes=('cat',)),
    test_mode=True,
    pipeline=[]))
val_evaluator = dict(type='lightvit_dense.CocoMetric', ann_file='{root}/other.json')
val_cfg = dict()
"""


def test_data_sets_and_metrics_are_read_as_the_run_will(write, tmp_path) -> None:
    note = dict(id=0, image_id=1, category_id=0, bbox=[1, 2, 9, 9], area=81)
    image = dict(id=1, file_name='a.png', width=20, height=24)
    truth = dict(images=[image], annotations=[note], categories=[dict(id=0, name='cat')])
    config = write(extra=COCO.format(root=tmp_path))
    (tmp_path / 'truth.json').write_text(json.dumps(truth))
    truth['annotations'] = [note | dict(iscrowd=None)]
    (tmp_path / 'other.json').write_text(json.dumps(truth))
    with pytest.raises(UserError, match=r'1 of the 1 images that it lists do not exist, such as'):
        apis.check_training(config)
    write_image(tmp_path / 'a.png')
    with pytest.raises(UserError, match=r'other\.json: .* has the iscrowd None'):
        apis.check_training(config)
    (tmp_path / 'other.json').write_text((tmp_path / 'truth.json').read_text())
    found = apis.check_training(config)
    assert 'all 2 local files' in found
    assert found.endswith('; train_dataloader: 24 samples; val_dataloader: 1 samples')


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
