from matplotlib.colors import to_hex

from lightvit_dense.utils.logs import Series
from lightvit_dense.visualization import PALETTE, curves


def test_plot_draws_each_series_in_its_colour():
    drawn = [Series('a', (1, 2), (3.0, 4.0)), Series('b', (1, 5), (0.0, 9.0))]
    axes = curves.plot([*drawn, Series('empty', (), ())], 'title').axes[0]
    assert [line.get_label() for line in axes.lines] == ['a', 'b']
    assert list(axes.lines[1].get_ydata()) == [0.0, 9.0]
    assert [to_hex(line.get_color()) for line in axes.lines] == list(PALETTE[:2])
    # An SVG has no links and takes the colour of the page.
    svg = curves.to_svg(curves.plot([Series('a', (1, 2), (3.0, 4.0))], 'My title'))
    assert svg.startswith('<svg')
    parts = ('My title', 'currentColor', 'http', 'DOCTYPE', '#010203')
    assert [part in svg for part in parts] == [True, True, False, False, False]
    assert 'nothing was logged' in curves.to_svg(curves.plot([], 'none'))
