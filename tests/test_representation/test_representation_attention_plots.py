"""What the pictures of attention show, read back from their figures."""

import math

import numpy as np
import pytest

from lightvit_dense.errors import UserError
from lightvit_dense.representation.agreement import PairAgreement
from lightvit_dense.representation.attention import LayerStats
from lightvit_dense.representation.plots import agreement_matrix, plot_agreement, plot_attention
from lightvit_dense.visualization.curves import save_png


def layer(number, distance, entropy, tokens=16):
    return LayerStats(number, distance, entropy, tokens, 16.0, math.log(tokens), 60.0, 30.0)


STATS = [layer(1, (10.0, 20.0, 60.0), (1.0, 2.0, 2.5)), layer(2, (5.0, 6.0, 7.0), (0.1, 0.2, 0.6))]


def pair(student, teacher, value):
    return PairAgreement(student, teacher, 2.0, 1.0, value, value / 2, 0.25)


def curves(axes):
    return {line.get_label(): line for line in axes.lines if not line.get_label().startswith('_')}


def test_boxes_are_the_quartiles_of_the_heads_and_every_head_is_a_dot():
    distance, entropy = plot_attention([('MAE', STATS)]).axes
    first = distance.patches[0].get_path().vertices[:, 1]
    assert (first.min(), first.max()) == (15, 40)  # quartiles of 10, 20 and 60
    line = curves(distance)['MAE']
    assert list(line.get_xdata()) == [1, 2]
    assert list(line.get_ydata()) == [20, 6]
    dots = [list(x.get_ydata()) for x in entropy.lines if x.get_marker() == '.']
    assert dots == [[1.0, 2.0, 2.5], [0.1, 0.2, 0.6]]
    figure = plot_attention([('MAE', STATS)], 'papers')
    assert [axes.get_ylim() for axes in figure.axes] == [(0, 150), (0, 6)]
    for models, y_range in (([], 'auto'), ([('MAE', STATS)], 'all')):
        with pytest.raises(UserError, match='a picture needs a model and a y range'):
            plot_attention(models, y_range)


def test_all_pairs_make_heat_maps_with_layer_one_at_the_bottom_left():
    pairs = [pair(i, j, 0.1 * i + 0.2 * j) for i in (1, 2) for j in (1, 2, 3)]
    sparse = [pair(1, 1, 0.1), pair(1, 2, 0.2), pair(3, 2, 0.4)]
    expected = [[0.1, 0.2], [np.nan, np.nan], [np.nan, 0.4]]  # the student's layers as rows
    np.testing.assert_array_equal(agreement_matrix(sparse, 'cosine'), expected)
    figure = plot_agreement(pairs, ('student', 'teacher'))
    cosine = figure.axes[0]
    (image,) = cosine.images
    np.testing.assert_allclose(image.get_array(), agreement_matrix(pairs, 'cosine'))
    assert (image.origin, image.get_extent()) == ('lower', [0.5, 3.5, 0.5, 2.5])
    assert image.get_clim() == (0, 1)
    assert (cosine.get_xlabel(), cosine.get_ylabel()) == ('layer of teacher', 'layer of student')
    written = {text.get_position(): text.get_text() for text in cosine.texts}
    assert written[3, 1] == '0.70'
    assert figure.axes[1].images[0].get_clim() == (0, math.log(2))


def test_a_few_pairs_are_points(tmp_path):
    figure = plot_agreement([pair(1, 2, 0.1), pair(2, 4, 0.3)], ('student', 'teacher'))
    cosine = figure.axes[0]
    assert list(cosine.lines[0].get_ydata()) == [0.1, 0.3]
    assert [label.get_text() for label in cosine.get_xticklabels()] == ['1:2', '2:4']
    save_png(figure, tmp_path / 'agreement.png')
    assert (tmp_path / 'agreement.png').read_bytes().startswith(b'\x89PNG')
