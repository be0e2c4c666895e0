"""tools/dataset_converters/make_small_sets.py as users run it."""

import re
from functools import partial

import pytest

from lightvit_dense.datasets import ImageNet


@pytest.fixture
def tool(call_tool):
    return partial(call_tool, 'dataset_converters/make_small_sets.py')


def test_writes_what_is_there_and_names_what_is_missing(tool, tmp_path):
    empty = tmp_path / 'empty'
    empty.mkdir()
    words = ['--out', tmp_path, '--sets', 'fashion-mnist', 'digits']
    status, out, err = tool(*words, '--source', f'fashion-mnist={empty}', '--lmdb')
    assert status == 2
    assert 'fashion-mnist: ' in err
    assert 'apt-get download dataset-fashion-mnist' in err
    assert '1438 + 359 images of 10 classes, written' in out
    source = dict(source='lmdb', classes='classes.txt')
    folder = ImageNet(str(tmp_path / 'digits'), 'val', classes='classes.txt')
    lmdb = ImageNet(str(tmp_path / 'digits'), 'val', **source)
    assert [lmdb.entry(i) for i in range(359)] == [folder.entry(i) for i in range(359)]
    status, out, _ = tool('--out', tmp_path, '--sets', 'digits')
    assert status == 0
    assert 'kept, it is whole' in out


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['--sets', 'digit'], "there is no set 'digit'.*Did you mean 'digits'"),
        (['--source', 'digits'], 'write SET=PATH'),
        (['--source', 'digits=/nowhere'], '/nowhere does not exist'),
    ],
)
def test_wrong_words_are_named(tool, tmp_path, words, message):
    status, _, err = tool('--out', tmp_path, *words)
    assert status == 2
    assert re.search(message, err)
