"""Agreement of attention maps against straight lines, closed cases and the distiller's measure."""

import math
from functools import partial

import pytest
import torch

from lightvit_dense.errors import UserError
from lightvit_dense.models.pretraining.distillation import attention_r2
from lightvit_dense.representation.agreement import (
    AttentionAgreement,
    mean_map,
    mean_maps_agreement,
    parse_pairs,
)
from tests.helpers import attention_models
from tests.helpers.attention_models import attention_agreement, make_vit

SIZES = ((64, 64), (64, 64))


def make_hiera(seed=0):
    return attention_models.make_hiera(seed, q_pool=2, mask_unit_attn=(True, True, False))


images = partial(attention_models.images, 4)


def patch_logits(model, layer, batch):
    logits = model.encode(batch, logits_of=[layer]).logits[layer].detach()
    return logits[:, :, model.num_prefix_tokens :, model.num_prefix_tokens :]


def rows_agreement(student, teacher):
    """Cross entropy, KL, cosine and JS of rows of probabilities, one number at a time."""
    total = [0.0] * 4
    for s, t in zip(student.tolist(), teacher.tolist(), strict=True):
        cross = -sum(b * math.log(a) for a, b in zip(s, t, strict=True))
        entropy = -sum(b * math.log(b) for b in t)
        product = sum(a * b for a, b in zip(s, t, strict=True))
        norms = math.sqrt(sum(a * a for a in s) * sum(b * b for b in t))
        middle = [(a + b) / 2 for a, b in zip(s, t, strict=True)]
        js = sum(0.5 * x * math.log(x / m) for p in (s, t) for x, m in zip(p, middle, strict=True))
        for i, value in enumerate((cross, cross - entropy, product / norms, js)):
            total[i] += value / len(student)
    return total


def test_the_numbers_are_those_of_the_straight_line():
    student, teacher, batch = make_vit(0, 3), make_vit(1, 2), images()
    (found,) = attention_agreement(student, teacher, [(batch, batch)], [(1, 2)])
    logits = patch_logits(student, 1, batch), patch_logits(teacher, 2, batch)
    ours, theirs = (x.softmax(-1) for x in logits)
    means = rows_agreement(*(x.mean(1).flatten(0, 1) for x in (ours, theirs)))
    assert [found.cross_entropy, found.kl, found.cosine, found.js] == pytest.approx(means, rel=1e-9)

    # As the hook of pre-training measures it, on one batch.
    assert found.explained == pytest.approx(attention_r2(*logits), rel=1e-9)


def test_a_network_agrees_with_itself_wherever_the_batches_end():
    model, batch = make_vit(), images()
    agreement = AttentionAgreement(model, model, 'all', SIZES, budget=1)
    agreement.update(batch[:3])
    agreement.update(batch[3:])
    found = {(pair.student, pair.teacher): pair for pair in agreement.result()}
    assert list(found) == [(1, 1), (1, 2), (2, 1), (2, 2)]
    for pair in (found[1, 1], found[2, 2]):
        assert (pair.cosine, pair.explained) == (pytest.approx(1, rel=1e-12),) * 2
        assert (pair.kl, pair.js) == (pytest.approx(0, abs=1e-12),) * 2
    assert (found[1, 2].cosine < 0.999, found[1, 2].js > 1e-3) == (True, True)
    for pair in attention_agreement(model, model, [(batch, batch)], 'all'):
        other = found[pair.student, pair.teacher]
        assert pair.js == pytest.approx(other.js, rel=1e-9, abs=1e-14)
        assert pair.explained == pytest.approx(other.explained, rel=1e-9)


def test_maps_without_overlap_and_uniform_maps_have_known_numbers():
    logits = torch.full((1, 2, 1, 1, 4), -600.0, dtype=torch.float64)
    ours, theirs = logits.clone(), logits.clone()
    ours[..., 0], theirs[..., 3] = 0, 0
    maps = (mean_map(x.log_softmax(-1)) for x in (ours, theirs))
    _, _, *found = mean_maps_agreement(*maps).tolist()
    assert found == pytest.approx([0, math.log(2)], abs=1e-12)  # cosine and JS
    # Uniform maps.
    student, teacher, batch = make_vit(), make_vit(1), images()
    for parameter in student.blocks[1].attn.qkv.parameters():
        torch.nn.init.zeros_(parameter)
    (found,) = attention_agreement(student, teacher, [(batch, batch)])
    assert found.cross_entropy == pytest.approx(math.log(16), rel=1e-12)
    assert found.explained == pytest.approx(0, abs=1e-9)


def test_a_hiera_and_a_vision_transformer_are_compared_place_by_place():
    hiera, vit, batch = make_hiera(), make_vit(), images()
    (found,) = attention_agreement(vit, hiera, [(batch, batch)], [(2, 4)])
    logits = hiera.encode(batch, logits_of=[4]).logits[4].detach()
    # Units of 2x2 tokens, whose finest bits of row and column come first: their places in raster.
    places = torch.arange(16).reshape(2, 2, 2, 2).transpose(1, 2).flatten()
    raster = torch.empty_like(logits)
    raster[:, :, places[:, None], places] = logits
    ours = patch_logits(vit, 2, batch).softmax(-1)
    expected = rows_agreement(*(x.mean(1).flatten(0, 1) for x in (ours, raster.softmax(-1))))
    assert [found.cross_entropy, found.kl, found.cosine, found.js] == pytest.approx(expected)


def test_layers_are_compared_where_they_have_as_many_patches():
    hiera, batch = make_hiera(), images()
    found = attention_agreement(hiera, make_hiera(1), [(batch, batch)], 'all')
    assert [(pair.student, pair.teacher) for pair in found] == [(1, 1), (2, 2), (3, 3), (4, 4)]
    student, teacher = make_vit(), make_vit(1, img_size=32, patch_size=8)
    (found,) = attention_agreement(student, teacher, [(images(), images(size=32))])
    assert 0 < found.js < math.log(2)


@pytest.mark.parametrize(
    ('student', 'patch_size', 'pairs', 'message'),
    [
        (make_vit, 8, None, 'student layer 2: 4x4 .* teacher layer 2: 8x8 .* --size 64 32'),
        (make_vit, 16, [(1, 3)], 'layer 3: the backbone has layers 1 to 2'),
        (make_vit, 16, [(1, 1), (1, 1)], 'different STUDENT:TEACHER layers'),
        (make_vit, 16, [], 'different STUDENT:TEACHER layers'),
        (make_vit, 8, 'all', 'do not line up'),  # not one pair of 'all' is left
        (make_hiera, 8, [(2, 1)], 'both attend globally'),
    ],
)
def test_what_does_not_line_up_is_named(student, patch_size, pairs, message):
    with pytest.raises(UserError, match=message):
        AttentionAgreement(student(), make_vit(1, patch_size=patch_size), pairs, SIZES)


def test_pairs_are_read_from_words():
    assert parse_pairs(['6:6', '12:10']) == [(6, 6), (12, 10)]
    assert (parse_pairs([]), parse_pairs(['all'])) == (None, 'all')
    for words in (['6'], ['6:'], ['a:b'], ['all', '6:6']):
        with pytest.raises(UserError, match='write STUDENT:TEACHER'):
            parse_pairs(words)
