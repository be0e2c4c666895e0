import csv
import io

import pytest
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from lightvit_dense.analysis import speed_table
from lightvit_dense.analysis.speed_plot import Bubble, bubbles, place_labels, scatter
from lightvit_dense.suite.papers import PUBLISHED

SIZE = {'parameters': 5_717_416, 'macs': 1_250_000_000, 'flops': 2_500_000_000}
PASSES = [
    {
        'size': SIZE,
        'throughput': {'batch': 8, 'seconds': [1.0, 2.0], 'peak_memory_mb': 100.0},
        'latency': {'seconds': [0.01, 0.02, 0.03]},
        'compiled': {'unavailable': 'no compiler'},
        'onnx': {'seconds': [0.005], 'relative_error': 1e-6, 'largest_error': 2e-6},
    },
    {
        'size': SIZE,
        'throughput': {'batch': 8, 'seconds': [4.0], 'peak_memory_mb': 102.0},
        'latency': {'seconds': [0.04, 0.05]},
        'compiled': {'unavailable': 'no compiler'},
        'onnx': {'seconds': [0.007], 'relative_error': 3e-6, 'largest_error': 2e-6},
    },
]


def make(model: str = 'vit_tiny', passes: list | None = None) -> dict:
    return speed_table.make_row(model, 'ViT', 'a note', 224, passes or PASSES)


def test_passes_are_pooled() -> None:
    row = make()
    assert row['throughput']['images_per_s'] == {'median': 4.0, 'iqr': 3.0, 'samples': 3}
    assert row['throughput']['peak_memory_mb'] == 101.0
    assert row['latency']['ms']['median'] == pytest.approx(30.0)
    assert row['latency']['ms']['iqr'] == pytest.approx(20.0)
    assert row['onnx']['ms']['median'] == pytest.approx(6.0)
    assert row['onnx']['relative_error'] == 3e-6
    assert row['compiled'] == {'unavailable': 'no compiler'}
    assert (row['passes'], row['macs']) == (2, SIZE['macs'])
    assert [one['top1'] for one in row['published']] == [78.0, 78.5]
    assert speed_table.errors_of(row) == []


def test_an_error_in_any_pass_is_told() -> None:
    broken = [PASSES[0], {'size': SIZE, 'latency': {'error': 'RuntimeError: no'}}]
    row = make(passes=broken)
    assert row['latency'] == {'error': 'RuntimeError: no'}
    assert speed_table.errors_of(row) == ['latency: RuntimeError: no']
    text = speed_table.markdown([row], 'about')
    assert '- error, ViT, latency: RuntimeError: no' in text
    unbuilt = make(passes=[{'size': {'error': 'ValueError: x'}}])
    assert speed_table.errors_of(unbuilt) == ['size: ValueError: x']
    assert '| error | error | error |' in speed_table.markdown([unbuilt], 'about')


def test_the_tables_say_what_was_measured() -> None:
    rows = [make(), make('vit_tiny_3h')]
    line, other = speed_table.markdown(rows, 'about').splitlines()[4:6]
    cells = [cell.strip() for cell in line.strip('|').split('|')]
    assert cells[:6] == ['ViT', '224', '5.72', '1.25', '2.50', '8']
    assert cells[6:12] == ['4 (3)', '101', '30 (20)', 'no compiler', '6 (1)', '3e-06']
    assert cells[12:] == ['a note']
    assert '| ViT |' in other
    records = list(csv.DictReader(io.StringIO(speed_table.to_csv(rows))))
    assert float(records[0]['images_per_s']) == 4.0
    assert float(records[0]['onnx_ms']) == pytest.approx(6.0)
    assert records[0]['compiled_ms'] == records[1]['paper_top1'] == ''
    assert speed_table.to_csv([]) == ''


def test_table_2_has_every_published_row_beside_what_was_measured() -> None:
    text = speed_table.paper_table([make(), make('resnet18', [{'size': {'error': 'x'}}])], 'about')
    lines = text.splitlines()
    assert lines[2].count('*paper*') == 5
    assert lines[2].count('*measured*') == 3
    cells = {
        row[0]: row[1:]
        for row in ([c.strip() for c in x.split('|')[1:-1]] for x in lines[4:])
        if row
    }
    assert list(cells) == [row.label for row in PUBLISHED]
    assert cells['MAE-Tiny'] == ['6', '5.72', '1.25', '4020', '4 (3)', '78.0', '84.3', '66.2']
    assert cells['MAE-Tiny, 1000 epochs'][1:5] == ['5.72', '1.25', '3956', '4 (3)']
    assert cells['ResNet-18'][1:5] == ['error', 'error', '8951', '']
    assert cells['ResNet-50'][1:5] == ['*not run*', '*not run*', '2696', '']
    assert cells['MobileNet-v2'][5:] == ['72.0', '-', '-']
    assert cells['LVT'] == ['6', 'not in timm', 'not in timm', '-', '', '74.8', '-', '-']


def test_models_stand_in_the_order_of_the_list() -> None:
    names = ['timm:x', 'resnet18', 'a.py', 'vit_tiny']
    assert speed_table.in_order(names) == ['vit_tiny', 'resnet18', 'timm:x', 'a.py']


def test_bubbles_are_speed_and_published_accuracy() -> None:
    rows = [make(), make('vit_tiny_3h')]
    assert bubbles(rows, 'throughput') == [
        Bubble('MAE-Tiny', 4.0, 78.0, 5.717416, True),
        Bubble('MAE-Tiny, 1000 epochs', 4.0, 78.5, 5.717416, True),
    ]
    assert bubbles(rows, 'latency')[0].x == pytest.approx(30.0)
    assert bubbles(rows, 'compiled') == []


def test_labels_cover_neither_each_other_nor_bubbles() -> None:
    points = [
        Bubble(row.label, row.images_per_s or 3300, row.top1, row.params_m) for row in PUBLISHED
    ]
    figure = scatter(points, 'images/s', 'published')
    (axes,) = figure.axes
    renderer = figure.pad_shape.get_renderer()
    texts = [text for text in axes.texts if text.get_text() in {p.label for p in points}]
    assert len(texts) == len(points)
    labels = []
    for text in texts:
        text.update_positions(renderer)
        labels.append(Text.get_window_extent(text, renderer))
    assert all(Bbox.intersection(box, axes.bbox).width == box.width for box in labels)
    covered = [
        (a, b)
        for i, a in enumerate(labels)
        for b in labels[:i]
        if min(a.x1, b.x1) > max(a.x0, b.x0) and min(a.y1, b.y1) > max(a.y0, b.y0)
    ]
    assert covered == []
    assert axes.get_xscale() == 'log'
    with pytest.raises(ValueError, match='no model has both'):
        scatter([], 'images/s', 'none')
    assert place_labels(figure, axes, [], []) == []
