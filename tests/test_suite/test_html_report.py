import re

import numpy as np

from lightvit_dense.utils import html as report
from lightvit_dense.utils.logs import Series
from lightvit_dense.visualization import curves


def make_page():
    page = report.Report('A <title>', 'sub & line')
    page.lead(report.text('It helped.', 'lead good'))
    page.section(
        'Table', report.table(['run', 'AP', 'n'], [['a', 0.12345, 3], ['b', None, 4]], {1: 0})
    )
    page.section('Picture', report.figure(np.zeros((4, 4, 3), np.uint8), 'black "square"'))
    svg = curves.to_svg(curves.plot([Series('loss', (1, 2), (2.0, 1.0))], 'loss'))
    page.section('Curves', report.plots([svg]))
    page.section('Command', report.code('python tools/train.py a.py --x "<1>"'))
    page.section('Nothing', '')
    return page


def test_page_fetches_nothing():
    text = make_page().html()
    assert 'http' not in text
    assert '<link' not in text
    assert '<script' not in text
    sources = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert sources
    assert all(source.startswith(('data:', '#')) for source in sources)
    assert not re.search(r'url\((?!#)', text)


def test_page_shows_and_escapes_its_content():
    text = make_page().html()
    assert 'A &lt;title&gt;' in text
    assert 'sub &amp; line' in text
    assert '<td class="best">0.123</td>' in text
    assert '<td>\N{EN DASH}</td>' in text
    assert '<td>4</td>' in text
    assert 'alt="black &quot;square&quot;"' in text
    assert '&quot;&lt;1&gt;&quot;' in text
    assert 'Nothing' not in text
    assert 'prefers-color-scheme:dark' in text


def test_write_is_whole(tmp_path):
    path = make_page().write(tmp_path / 'deep' / 'report.html')
    assert path.read_text().endswith('</html>')
    assert [file.name for file in path.parent.iterdir()] == ['report.html']
