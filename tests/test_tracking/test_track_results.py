"""Result files: what is written, read back, refused, and taken for unfinished."""

import zipfile

import numpy as np
import pytest

from tracking.runtime.results import (
    ResultError,
    find_result,
    is_complete,
    read_result,
    read_seconds,
    result_path,
    write_result,
    write_submission,
)

BOXES = np.array([[0, 0, 1, 1], [1.5, -0.00001, 20.123456, 7], [100, 200.25, 3, 0]])


def test_lasot_text(tmp_path):
    path = write_result(tmp_path / 'ours', 'cat-1', BOXES, [0.5, 0.25, 0.125])
    assert path == tmp_path / 'ours' / 'cat-1.txt'
    assert path.read_text() == '0,0,1,1\n1.5,0,20.1235,7\n100,200.25,3,0\n'
    times = (tmp_path / 'ours' / 'cat-1_time.txt').read_text()
    assert times == '0.50000000\n0.25000000\n0.12500000\n'
    np.testing.assert_allclose(read_result(path), BOXES, atol=5e-5)
    np.testing.assert_array_equal(read_seconds(path), [0.5, 0.25, 0.125])
    assert {file.name for file in path.parent.iterdir()} == {'cat-1.txt', 'cat-1_time.txt'}


def test_got10k_layout_and_archive(tmp_path):
    name = 'GOT-10k_Test_000001'
    path = write_result(tmp_path / 'ours', name, BOXES, [1, 2, 3], layout='got10k')
    assert path == tmp_path / 'ours' / name / f'{name}_001.txt'
    assert (path.parent / f'{name}_time.txt').is_file()
    np.testing.assert_array_equal(read_seconds(path), [1, 2, 3])
    assert find_result(tmp_path / 'ours', name) == path
    archive = write_submission(tmp_path / 'ours', [name], tmp_path / 'ours.zip')
    with zipfile.ZipFile(archive) as packed:
        assert sorted(packed.namelist()) == [f'{name}/{name}_001.txt', f'{name}/{name}_time.txt']
        assert packed.read(f'{name}/{name}_001.txt') == path.read_bytes()
    with pytest.raises(ResultError, match='GOT-10k_Test_000002'):
        write_submission(tmp_path / 'ours', [name, 'GOT-10k_Test_000002'], tmp_path / 'no.zip')
    assert not (tmp_path / 'no.zip').exists()


@pytest.mark.parametrize('text', ['1\t2\t3\t4\n5\t6\t7\t8', '1 2 3 4\r\n5,6;7 8\r\n\r\n'])
def test_separators_of_other_toolkits(tmp_path, text):
    path = tmp_path / 'other.txt'
    path.write_bytes(b'\xef\xbb\xbf' + text.encode())
    np.testing.assert_array_equal(read_result(path), [[1, 2, 3, 4], [5, 6, 7, 8]])
    assert read_seconds(path) is None


@pytest.mark.parametrize(
    ('text', 'line', 'why'),
    [
        ('1,2,3,4\n1,2,3\n', 2, '3 numbers instead of 4'),
        ('1,2,3,4\n1,2,3,4,5\n1,2,3\n', 2, '5 numbers instead of 4'),
        ('1,2,3,4\n\n1,x,3,4\n', 3, "'x' is no number"),
        ('1,2,3\n1,2,3\n', 1, '3 numbers instead of 4'),
        ('1,2,3,4\n\n1,2,nan,4\n', 3, 'not finite'),
        ('1,2,3,-4\n', 1, 'negative size'),
    ],
)
def test_damage_is_named_with_its_line(tmp_path, text, line, why):
    path = tmp_path / 'bad.txt'
    path.write_text(text)
    with pytest.raises(ResultError, match=rf'bad\.txt, line {line}: .*{why}'):
        read_result(path)
    assert not is_complete(path, text.count('\n'))


def test_unfinished_files(tmp_path):
    path = write_result(tmp_path, 'a', BOXES)
    assert is_complete(path, 3)
    assert not is_complete(path, 4)
    assert not is_complete(tmp_path / 'b.txt', 3)
    path.write_bytes(path.read_bytes()[:-1])
    assert not is_complete(path, 3)
    path.write_text('')
    assert not is_complete(path, 0)


@pytest.mark.parametrize('name', ['', '../a', '/a', 'a/../../b', 'a\\b'])
def test_names_stay_in_the_folder(tmp_path, name):
    with pytest.raises(ResultError, match='no name of a sequence'):
        result_path(tmp_path, name)


def test_wrong_results_are_not_written(tmp_path):
    with pytest.raises(ResultError, match='box of frame 1 is not finite'):
        write_result(tmp_path, 'a', [[0, 0, 1, 1], [0, 0, np.nan, 1]])
    with pytest.raises(ResultError, match='boxes of shape'):
        write_result(tmp_path, 'a', np.zeros((0, 4)))
    with pytest.raises(ResultError, match='times of shape'):
        write_result(tmp_path, 'a', BOXES, [1.0])
    with pytest.raises(ResultError, match="layout 'otb'"):
        write_result(tmp_path, 'a', BOXES, layout='otb')
    assert not list(tmp_path.iterdir())
