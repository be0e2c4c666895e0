"""Every test here exercises the substitute, also where mmcv has compiled operators of its own."""

import importlib

import pytest

import lightvit_dense  # noqa: F401  makes mmcv.ops importable


@pytest.fixture(autouse=True)
def substitute(monkeypatch):
    from lightvit_dense.compat import torchvision_ext

    for name in ('mmcv.ops.nms', 'mmcv.ops.roi_align'):
        monkeypatch.setattr(importlib.import_module(name), 'ext_module', torchvision_ext)
    return torchvision_ext


@pytest.fixture(
    params=[
        'cpu',
        pytest.param(
            'cuda',
            marks=pytest.mark.skipif(
                'not __import__("torch").cuda.is_available()', reason='needs a GPU'
            ),
        ),
    ]
)
def device(request):
    return request.param
