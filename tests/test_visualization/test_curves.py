import json

import pytest
from matplotlib.colors import to_hex

from lightvit_dense.visualization import curves


@pytest.fixture
def run_dir(tmp_path):
    """Two starts of one run: the second resumed at step 20 and logged step 20 again."""
    first = [{'loss': 4.0, 'lr': 0.1, 'step': 10}, {'loss': 3.0, 'step': 20}]
    second = [
        {'loss': 2.5, 'step': 20},
        {'loss': 2.0, 'step': 30},
        {'coco/bbox_mAP': 0.25, 'step': 30},
    ]
    for name, records in (('20260101_000000', first), ('20260101_000500', second)):
        path = tmp_path / name / 'vis_data' / 'scalars.json'
        path.parent.mkdir(parents=True)
        path.write_text(''.join(json.dumps(record) + '\n' for record in records))
    return tmp_path


def test_series_of_a_resumed_run_are_exact(run_dir):
    files = curves.find_scalars(run_dir)
    assert [file.parent.parent.name for file in files] == ['20260101_000000', '20260101_000500']
    records = curves.read_scalars(files)
    loss = curves.series(records, 'loss', 'student')
    assert loss == curves.Series('student', (10, 20, 30), (4.0, 2.5, 2.0))
    assert curves.series(records, 'coco/bbox_mAP').values == (0.25,)
    assert curves.series(records, 'absent').steps == ()
    assert curves.keys_matching(records, 'mAP|lr') == ['coco/bbox_mAP', 'lr']


def test_nan_and_words_are_left_out(tmp_path):
    path = tmp_path / 'scalars.json'
    path.write_text('{"loss": NaN, "step": 1}\n{"loss": "x", "step": 2}\n{"loss": 1, "step": 3}\n')
    assert curves.series(curves.read_scalars(path), 'loss').steps == (3,)


def test_a_cut_last_line_is_dropped_and_a_broken_middle_line_is_named(tmp_path):
    path = tmp_path / 'scalars.json'
    path.write_text('{"loss": 1, "step": 1}\n{"loss": 2, "st')
    assert len(curves.read_scalars(path)) == 1
    path.write_text('{"loss": 1, "st\n{"loss": 2, "step": 2}\n')
    with pytest.raises(ValueError, match=r'scalars\.json, line 1'):
        curves.read_scalars(path)


def test_smooth_is_the_trailing_mean():
    curve = curves.Series('a', (1, 2, 3, 4), (1.0, 3.0, 5.0, 7.0))
    assert curves.smooth(curve, 2).values == (1.0, 2.0, 4.0, 6.0)
    assert curves.smooth(curve, 1) == curve
    with pytest.raises(ValueError, match='window'):
        curves.smooth(curve, 0)


def test_plot_draws_each_series_in_its_colour():
    drawn = [curves.Series('a', (1, 2), (3.0, 4.0)), curves.Series('b', (1, 5), (0.0, 9.0))]
    axes = curves.plot([*drawn, curves.Series('empty', (), ())], 'title').axes[0]
    assert [line.get_label() for line in axes.lines] == ['a', 'b']
    assert list(axes.lines[1].get_ydata()) == [0.0, 9.0]
    assert [to_hex(line.get_color()) for line in axes.lines] == list(curves.PALETTE[:2])


def test_svg_has_no_links_and_takes_the_colour_of_the_page():
    svg = curves.to_svg(curves.plot([curves.Series('a', (1, 2), (3.0, 4.0))], 'My title'))
    assert svg.startswith('<svg')
    assert 'My title' in svg
    assert 'http' not in svg
    assert 'DOCTYPE' not in svg
    assert 'currentColor' in svg
    assert '#010203' not in svg


def test_an_empty_plot_says_so():
    assert 'nothing was logged' in curves.to_svg(curves.plot([], 'none'))


def test_png(tmp_path):
    curves.save_png(curves.plot([curves.Series('a', (1,), (3.0,))], 't'), tmp_path / 'a.png')
    assert (tmp_path / 'a.png').read_bytes().startswith(b'\x89PNG')
