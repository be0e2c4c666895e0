import base64

import cv2
import numpy as np
import pytest
from matplotlib import get_data_path
from matplotlib.text import Text

from lightvit_dense import visualization
from lightvit_dense.errors import UserError
from lightvit_dense.visualization import fonts

ENTRIES = [('wall', (200, 0, 0)), ('sky', (0, 200, 0)), ('a very long name', (0, 0, 200))]


@pytest.mark.parametrize(
    ('length', 'count', 'expected'),
    [(5, 5, [0, 1, 2, 3, 4]), (60, 4, [0, 20, 39, 59]), (3, 8, [0, 1, 2]), (9, 1, [0]), (0, 3, [])],
)
def test_items_are_spread_from_the_first_to_the_last(length, count, expected):
    assert visualization.evenly(range(length), count) == expected


def test_legend_breaks_lines():
    wide, narrow = visualization.legend(ENTRIES, 400), visualization.legend(ENTRIES, 90)
    assert wide.shape[1] == 400
    assert narrow.shape[0] == 3 * wide.shape[0] - 2 * 2
    for _, color in ENTRIES:
        assert (wide == color).all(-1).sum() > 80
    assert (visualization.legend([('text alone', None)], 100)[2:16, 5:18] == 255).all(-1).any()
    assert visualization.legend([], 100).shape == (0, 100, 3)


@pytest.fixture
def installed(monkeypatch):
    """The files of the fonts that are installed, none at first."""
    files = []
    monkeypatch.setattr('matplotlib.font_manager.findSystemFonts', lambda: files)
    monkeypatch.setattr(fonts, '_SQUARES', set())
    fonts._choose.cache_clear()
    yield files
    fonts._choose.cache_clear()


def test_names_are_drawn_in_a_font_that_has_their_letters(installed, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(fonts, 'print_log', lambda text, **_: said.append(text))
    standard = fonts.font_file('cat é ž ß Ω')
    assert 'DejaVu' in standard
    (text, font) = fonts.typeset('e\N{COMBINING ACUTE ACCENT}')
    assert (text, font.path) == ('é', standard)
    assert fonts.font_file('Ⓐ 0.9') == fonts.font_file('ⒶⒷ') == standard  # there is none
    assert [text.count('Ⓐ') + text.count('Ⓑ') for text in said] == [1, 1]
    fonts._choose.cache_clear()
    installed.append(f'{get_data_path()}/fonts/ttf/STIXGeneralBol.ttf')
    assert fonts.font_file('Ⓐ 0.9') == installed[0]
    assert fonts.font_file('cat') == standard
    drawn = visualization.titled(np.zeros((1, 60, 3), np.uint8), 'ⒶⒶ')[:-1]
    assert np.ptp(np.nonzero((drawn < 128).all(-1))[1]) > 15
    figure, axes = visualization.curves.themed_axes('Ⓐ')
    visualization.curves.save_png(figure, tmp_path / 'plot.png')
    families = [text.get_family()[-1] for text in axes.findobj(Text) if text.get_text() == 'Ⓐ']
    assert families == ['STIXGeneral']


def test_pictures_come_back_and_files_that_do_not_are_named(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    kind, _, payload = visualization.data_uri(image, quality=None).partition(',')
    assert kind == 'data:image/png;base64'
    decoded = cv2.imdecode(np.frombuffer(base64.b64decode(payload), np.uint8), cv2.IMREAD_COLOR)
    assert (cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB) == image).all()
    assert (
        visualization.read_image(visualization.write_image(tmp_path / 'new' / 'x.png', image))
        == image
    ).all()
    (tmp_path / 'file').write_text('in the way')
    for path in (tmp_path / 'file/x.png', tmp_path / 'x.strange'):
        with pytest.raises(UserError, match='cannot be written'):
            visualization.write_image(path, np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(UserError, match='file: is missing, or no image'):
        visualization.read_image(tmp_path / 'file')
