import hashlib
import json

import numpy as np
import pytest
import torch
from mmengine.config import Config

from lightvit_dense.evaluation.report import describe_config, evaluation_report
from lightvit_dense.utils.io import write_json


def test_what_is_no_number_is_null(tmp_path):
    """What else a report holds is tested with the tools that write it."""
    table = [{'class': 'a', 'IoU': np.float32(50)}, {'class': 'b', 'IoU': float('nan')}]
    metrics = {'mIoU': torch.tensor(50.0), 'bad': float('inf')}
    weights = tmp_path / 'x.pth'
    weights.write_bytes(b'weights')
    files = dict(checkpoint=weights, predictions='gone.pkl')
    found = evaluation_report(Config(), metrics, {'IoUMetric': table}, **files)
    write_json(tmp_path / 'new' / 'report.json', found)
    content = json.loads((tmp_path / 'new' / 'report.json').read_text())
    assert content['metrics'] == {'mIoU': 50.0, 'bad': None}
    assert content['class_tables']['IoUMetric'] == [
        {'class': 'a', 'IoU': 50.0},
        {'class': 'b', 'IoU': None},
    ]
    assert content['checkpoint_sha256'] == hashlib.sha256(b'weights').hexdigest()
    assert (content['predictions'], content['predictions_sha256']) == ('gone.pkl', None)
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
