"""Expected results are intervals."""

import pytest
from mmengine.config import Config

from lightvit_dense import apis
from lightvit_dense.errors import UserError


@pytest.mark.parametrize(
    ('measured', 'status'), [(0.42, 0), (0.428, 0), (0.429, 1), (0.411, 1), (float('nan'), 1)]
)
def test_intervals(capsys, measured, status) -> None:
    rows = [('coco/bbox_mAP', 0.423, 0.0051), ('coco/segm_mAP', 0.4, 0.1)]
    assert apis.verify({'coco/bbox_mAP': measured, 'coco/segm_mAP': 0.45}, rows) == status
    table = capsys.readouterr().out.splitlines()
    assert len(table) == 3
    assert table[1].endswith('FAILED' if status else 'ok')
    assert table[2].endswith('ok')


@pytest.mark.parametrize(
    ('rows', 'message'),
    [
        ([('x', 1.0, 0.1)], r"'x' was not measured \(measured: y\)"),
        ([('x', 1.0)], 'triple'),
        ([(1, 1.0, 0.1)], 'triple'),
        ([('x', '1', 0.1)], 'triple'),
        (None, 'nothing to verify'),
    ],
)
def test_what_cannot_be_verified_is_an_error(rows, message) -> None:
    with pytest.raises(UserError, match=message):
        apis.verify({'y': 1.0}, apis.read_expected(Config(dict(expected=rows))))
