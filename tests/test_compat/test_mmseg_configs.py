import pytest
from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE

from lightvit_dense.compat import mmseg_configs


@pytest.fixture
def child(tmp_path):
    path = tmp_path / 'child.py'
    path.write_text("_base_ = 'mmseg::_base_/models/upernet_r50.py'\n")
    return path


def test_a_shipped_configuration_is_inherited(child, monkeypatch):
    monkeypatch.setitem(MODULE2PACKAGE, 'mmseg', 'mmsegmentation')
    mmseg_configs.install()
    config = Config.fromfile(child)
    assert config.model.decode_head.type == 'UPerHead'


def test_a_distribution_of_the_expected_name_is_left_alone(monkeypatch):
    monkeypatch.setitem(MODULE2PACKAGE, 'mmseg', 'torch')
    mmseg_configs.install()
    assert MODULE2PACKAGE['mmseg'] == 'torch'
