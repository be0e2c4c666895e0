"""tools/dataset_converters/make_lmdb.py as users run it."""

import subprocess
import sys
from pathlib import Path

import pytest

from lightvit_dense.datasets.storage import LmdbStorage

NAME = 'dataset_converters/make_lmdb.py'
TOOL = Path(__file__).parents[2] / 'tools' / NAME


@pytest.fixture
def source(tmp_path):
    for number in range(5):
        path = tmp_path / f'source/{number % 2}/{number}.jpg'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(100 + number))
    (tmp_path / 'source/list.txt').write_text('list')
    return tmp_path / 'source'


def test_writes_verifies_and_says_so(source, tmp_path):
    target = tmp_path / 'data.lmdb'
    command = [sys.executable, str(TOOL), str(source), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert '5 files, 510 bytes' in done.stdout
    assert '5 written, 0 were there already' in done.stdout
    assert 'every file matches its SHA-256' in done.stdout
    assert '[1/2] writing: started' in done.stderr
    assert '[2/2] verifying: done' in done.stderr
    assert len(LmdbStorage(target).read('1/3.jpg')) == 103


def test_checks_only(source, tmp_path, call_tool):
    target = tmp_path / 'data.lmdb'
    args = [source, target, '--extensions', '.jpg', '.txt', '--no-verify']
    status, out, _ = call_tool(NAME, *args)
    assert status == 0
    assert '6 files, 514 bytes' in out
    assert 'not verified' in out
    status, out, _ = call_tool(NAME, '--verify', target)
    assert status == 0
    assert 'every file matches' in out
    status, _, err = call_tool(NAME, source, target)
    assert status == 2
    assert 'error: ' in err
    assert 'list.txt' in err
    assert 'Give the same source and extensions' in err


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (['only-one'], 'give SOURCE and LMDB to write, or --verify LMDB'),
        (['--verify', 'a', 'b'], 'give SOURCE and LMDB to write, or --verify LMDB'),
        (['a', 'b', '--readers', '0'], 'at least one thread'),
        (['--verify', '--no-verify', 'b'], 'exclude each other'),
        (['nowhere', 'b'], 'nowhere: this folder does not exist'),
    ],
)
def test_plain_errors(tmp_path, monkeypatch, call_tool, args, message):
    monkeypatch.chdir(tmp_path)
    status, _, err = call_tool(NAME, *args)
    assert status == 2
    assert message in err
    assert list(tmp_path.iterdir()) == []
