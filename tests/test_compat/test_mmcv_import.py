"""How ``mmcv._ext`` is found, each case in an interpreter of its own."""

import json
import subprocess
import sys
import textwrap

import pytest

from lightvit_dense.compat.mmcv_ops import TorchvisionOpsFinder, install, is_substituted


def run(code, *arguments):
    """Run code that prints one JSON line last; return what it printed and its warnings."""
    done = subprocess.run(
        [sys.executable, '-c', textwrap.dedent(code), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


@pytest.mark.skipif(not is_substituted(), reason='mmcv has compiled operators here')
def test_the_downstream_libraries_import():
    found, errors = run(
        """
        import json, sys

        import lightvit_dense
        heavy = {'mmcv', 'mmdet', 'mmseg', 'torchvision'}
        heavy |= {'lightvit_dense.apis', 'lightvit_dense.models'}
        heavy = sorted(heavy & set(sys.modules))

        from mmengine.utils.dl_utils import mmcv_full_available
        from mmcv.ops import get_compiler_version
        from mmcv.utils.ext_loader import check_ops_exist
        import mmdet.models, mmseg.models
        from lightvit_dense.compat.mmcv_ops import is_substituted
        from mmdet.registry import MODELS as detection
        from mmseg.registry import MODELS as segmentation

        print(json.dumps(dict(
            heavy=heavy,
            full=mmcv_full_available(),
            exist=check_ops_exist(),
            substituted=is_substituted(),
            origin=sys.modules['mmcv._ext'].__spec__.origin,
            compiler=get_compiler_version(),
            detector='MaskRCNN' in detection,
            head='UPerHead' in segmentation,
        )))
        """
    )
    assert found.pop('origin').endswith('torchvision_ext.py')
    assert found == {
        'heavy': [],
        'full': True,
        'exist': True,
        'substituted': True,
        'compiler': 'not compiled (torchvision operators)',
        'detector': True,
        'head': True,
    }
    assert 'Warning' not in errors


def test_a_real_extension_wins_even_when_it_is_broken(tmp_path):
    whole, broken = tmp_path / 'whole', tmp_path / 'broken'
    for folder, text in (
        (whole, 'def nms():\n    return "compiled"\n'),
        (broken, 'raise ImportError("undefined symbol")\n'),
    ):
        folder.mkdir()
        (folder / '_ext.py').write_text(text)
    found, _ = run(
        """
        import json, sys
        import lightvit_dense
        import mmcv
        from lightvit_dense.compat.mmcv_ops import is_substituted
        mmcv.__path__.insert(0, sys.argv[1])
        import mmcv._ext
        found = [mmcv._ext.__file__, mmcv._ext.nms(), is_substituted()]
        del sys.modules['mmcv._ext']
        mmcv.__path__[0] = sys.argv[2]
        try:
            import mmcv._ext
        except ImportError as error:
            found.append(str(error))
        print(json.dumps(found))
        """,
        whole,
        broken,
    )
    assert found == [str(whole / '_ext.py'), 'compiled', False, 'undefined symbol']


def test_install_twice_adds_one_finder():
    install()
    install()
    finders = [finder for finder in sys.meta_path if isinstance(finder, TorchvisionOpsFinder)]
    assert len(finders) == 1
    assert finders[0].find_spec('mmcv.ops', None) is None
    assert finders[0].find_spec('_ext', None) is None
