import hashlib
import json

import pytest
from mmengine.config import Config

from lightvit_dense.evaluation.report import describe_config, evaluation_report
from lightvit_dense.utils.io import write_json


def test_the_report_says_what_belongs_to_it(tmp_path):
    weights = tmp_path / 'x.pth'
    weights.write_bytes(b'weights')
    path = tmp_path / 'x.py'
    path.write_text("model = dict(type='x')")
    cfg = Config.fromfile(path)
    table = [dict({'class': 'a'}, IoU=50.0, pixels=3), dict({'class': 'b'}, IoU=float('nan'))]
    found = evaluation_report(
        cfg, {'mIoU': 50.0, 'bad': float('nan')}, {'IoUMetric': table}, checkpoint=weights, extra=[]
    )
    write_json(tmp_path / 'new' / 'report.json', found)
    text = (tmp_path / 'new' / 'report.json').read_text()
    assert 'NaN' not in text
    content = json.loads(text)
    assert content['config'] == str(path)
    assert content['checkpoint'] == str(weights)
    assert content['checkpoint_sha256'] == hashlib.sha256(b'weights').hexdigest()
    assert content['metrics'] == {'mIoU': 50.0, 'bad': None}
    assert content['class_tables']['IoUMetric'][1] == {'class': 'b', 'IoU': None}
    assert content['environment']['versions']['torch']
    assert content['time'].endswith('+00:00')


def test_the_hash_follows_the_values_alone():
    values = dict(model=dict(type='x', depth=2), lr=1e-3)
    one = describe_config(Config(values))
    two = describe_config(Config(dict(reversed(values.items()), work_dir='w')))
    assert one['config_sha256'] == two['config_sha256']
    other = describe_config(Config(dict(values, lr=2e-3)))
    assert one['config_sha256'] != other['config_sha256']


def test_only_plain_data_is_written(tmp_path):
    with pytest.raises((TypeError, ValueError)):
        write_json(tmp_path / 'x.json', {'x': object()})
    assert not (tmp_path / 'x.json').exists()
