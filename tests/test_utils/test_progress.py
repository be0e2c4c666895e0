import io

import pytest

from lightvit_dense.utils import progress
from lightvit_dense.utils.progress import Progress

HEAD = '11/21 13:15:22 - mmengine - INFO - '


@pytest.mark.parametrize(
    ('line', 'epochs', 'expected'),
    [
        ('Iter(train) [  10/400]  lr: 1.0e-04  eta: 0:01  loss: 0.4321  loss_cls: 1.0', None,
         Progress(10, 400, 'train', 'loss 0.4321')),
        ('Epoch(train)   [3][  5/20]  lr: 1e-4  loss: 2.5', 10,
         Progress(45, 200, 'train', 'loss 2.5')),
        ('Epoch(train)   [3][  5/20]  lr: 1e-4', None, Progress(5, 20, 'train')),
        ('Iter(val) [ 7/64]    eta: 0:00:03', 5, Progress(7, 64, 'val')),
        ('Epoch(test) [64/64]    coco/bbox_mAP: 0.1', None, Progress(64, 64, 'test')),
        ('images 12/48', None, Progress(12, 48)),
        ('Saving checkpoint at 10 iterations', None, None),
        ('date 11/21/2026 or 9/3', None, None),
        ('11/21 13:15:22 - mmengine - INFO - matched 7/9 tables', None, None),
    ],
)  # fmt: skip
def test_position_is_read_from_a_line(line, epochs, expected):
    if expected is not None and expected.phase:
        line = HEAD + line
    assert progress.parse_line(line, epochs) == expected


def test_clock():
    assert [progress.clock(s) for s in (None, 5, 65, 3661)] == ['-', '0:05', '1:05', '1:01:01']


def test_lines_are_rare_and_readable(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, 'monotonic', lambda: now[0])
    stream = io.StringIO()
    display = progress.Display(stream)
    display.start(2, 7, 'teacher by MAE')
    for second in range(1, 26):
        now[0] = float(second)
        display.update(Progress(50 + second * 2, 100, 'train', 'loss 0.5'))
    now[0] = 40.0
    display.update(Progress(1, 4, 'val'))  # a new phase starts anew
    display.finish('done in 0.4 min')
    display.close()
    assert stream.getvalue().splitlines() == [
        '[2/7] teacher by MAE: started | elapsed 0:00',
        '[2/7] teacher by MAE: train 70/100 loss 0.5 eta 0:15 | elapsed 0:10',
        '[2/7] teacher by MAE: train 90/100 loss 0.5 eta 0:05 | elapsed 0:20',
        '[2/7] teacher by MAE: val 1/4 eta - | elapsed 0:40',
        '[2/7] teacher by MAE: done in 0.4 min | elapsed 0:40',
    ]


def test_a_terminal_shows_a_bar():
    stream = io.StringIO()
    stream.isatty = lambda: True
    display = progress.Display(stream)
    try:
        display.start(1, 2, 'first')
        display.update(Progress(5, 10, 'train', 'loss 1'))
        (bar,) = display.bars.tasks
        assert (bar.description, bar.completed, bar.total) == ('[1/2] first', 5, 10)
        assert bar.fields['note'] == 'train 5/10 loss 1 eta -'
        display.finish('done')
        display.start(2, 2, 'second')
        (bar,) = display.bars.tasks
        assert (bar.description, bar.completed, bar.total) == ('[2/2] second', 0, None)
    finally:
        display.close()
    assert '[1/2] first: done' in stream.getvalue()
