"""Attention distance and entropy against straight lines, closed cases and the authors' formula."""

import math
from functools import partial

import pytest
import torch

from lightvit_dense.errors import UserError
from lightvit_dense.models.backbones import VisionTransformer
from lightvit_dense.models.backbones.hiera_tokens import to_units
from lightvit_dense.representation.agreement import AttentionAgreement
from lightvit_dense.representation.attention import AttentionStats
from tests.helpers import attention_models
from tests.helpers.attention_models import attention_agreement, attention_stats, images

make_vit = partial(attention_models.make_vit, depth=3)
make_hiera = partial(attention_models.make_hiera, stages=(1, 2, 1, 1))


def straight_line(logits, queries, keys):
    """Distance and entropy [heads] of logits [B, heads, q, k], one number at a time."""
    distance, entropy = [], []
    for head in logits.detach().transpose(0, 1).tolist():
        gaps, terms = [], []
        for image in head:
            for row, query in zip(image, queries, strict=True):
                weights = [math.exp(x - max(row)) for x in row]
                p = [x / sum(weights) for x in weights]
                gaps.append(sum(x * math.dist(query, key) for x, key in zip(p, keys, strict=True)))
                terms.append(-sum(x * math.log(x + 1e-6) for x in p))
        distance.append(sum(gaps) / len(gaps))
        entropy.append(sum(terms) / len(terms))
    return distance, entropy


CENTRES = [(16 * r + 8, 16 * c + 8) for r in range(4) for c in range(4)]


def assert_close(found, distance, entropy):
    assert found.distance == pytest.approx(distance, rel=1e-10)
    assert found.entropy == pytest.approx(entropy, rel=1e-10)


DECOMPOSED = dict(rel_pos=dict(kind='decomposed', size=64))
BIAS = dict(rel_pos=dict(kind='bias'))


@pytest.mark.parametrize('options', [{}, DECOMPOSED | dict(cls_token=False), BIAS], ids=str)
def test_a_vision_transformer_agrees_with_the_straight_line(options):
    model, batch = make_vit(**options), images()
    found = attention_stats(model, [batch])
    assert [layer.layer for layer in found] == [1, 2, 3]
    prefix = model.num_prefix_tokens
    for layer in found:
        logits = model.encode(batch, logits_of=[layer.layer]).logits[layer.layer]
        expected = straight_line(logits[:, :, prefix:, prefix:], CENTRES, CENTRES)
        assert_close(layer, *expected)
        assert (layer.tokens, layer.patch, layer.max_entropy) == (16, 16, math.log(16))


def hiera_tokens(side, grid, unit):
    """Centres of the tokens of a 64 px image, brought into the order of units by their numbers."""
    numbers = torch.arange(grid * grid).reshape(1, grid, grid, 1)
    return [
        [(side * (n // grid + 0.5), side * (n % grid + 0.5)) for n in row]
        for row in to_units(numbers, unit)[0, :, :, 0].tolist()
    ]


def test_a_hiera_agrees_with_the_straight_line_window_by_window():
    model, batch = make_hiera(), images(2)
    found = {layer.layer: layer for layer in attention_stats(model, [batch])}
    logits = model.encode(batch, logits_of=range(1, 6)).logits
    # (px of keys, px of queries, whether inside mask units): 16, 8, 4, 2 tokens across, 2 units.
    plan = {1: (4, 4, True), 2: (4, 8, True), 3: (8, 8, True), 4: (8, 16, True), 5: (16, 32, False)}
    for layer, (key_px, query_px, inside) in plan.items():
        keys = hiera_tokens(key_px, 64 // key_px, 32 // key_px)
        queries = hiera_tokens(query_px, 64 // query_px, 32 // query_px)
        if not inside:
            keys, queries = ([[place for unit in x for place in unit]] for x in (keys, queries))
        parts = logits[layer].chunk(len(keys), dim=2)
        each = [straight_line(*args) for args in zip(parts, queries, keys, strict=True)]
        # [windows, 2, heads] -> [2, heads]
        distance, entropy = torch.tensor(each, dtype=torch.float64).mean(0).tolist()
        assert_close(found[layer], distance, entropy)
        assert (found[layer].tokens, found[layer].patch) == (len(keys[0]), key_px)


@pytest.mark.parametrize('make', [make_vit, make_hiera])
def test_neither_batches_nor_the_budget_change_the_numbers(make):
    model, batch = make(), images(5)
    whole = AttentionStats(model)
    whole.update(batch)
    parts = AttentionStats(model, budget=1)  # one image and one layer at a time
    with pytest.raises(ValueError, match='no image'):
        parts.result()
    parts.update(batch[:3])
    with pytest.raises(ValueError, match='after images of'):
        parts.update(images(1, 32))
    parts.update(batch[3:])
    for one, other in zip(whole.result(), parts.result(), strict=True):
        assert_close(one, other.distance, other.entropy)


def test_the_budget_bounds_what_is_computed_at_a_time(monkeypatch):
    model, held = make_vit(), []
    original = VisionTransformer.attention_logits

    def watched(self, image, layers, ids_keep=None):
        found = original(self, image, layers, ids_keep)
        held.append(sum(x.numel() for x in found.values()))
        return found

    monkeypatch.setattr(VisionTransformer, 'attention_logits', watched)
    one_layer = 3 * 17 * 17
    for budget, expected in ((6 * one_layer, [6, 6]), (2 * one_layer, [2, 1] * 4), (1, [1] * 12)):
        held.clear()
        AttentionStats(model, budget=budget).update(images(4))
        assert held == [one_layer * count for count in expected]


def test_the_authors_pixels_scale_the_distance_only():
    model = make_vit()
    true, theirs, doubled = (
        attention_stats(model, [images()], [2], px)[0] for px in (None, 'authors', '32')
    )
    assert theirs.distance == pytest.approx([x * 14 / 16 for x in true.distance], rel=1e-12)
    assert doubled.distance == pytest.approx([x * 2 for x in true.distance], rel=1e-12)
    assert theirs.max_distance == pytest.approx(true.max_distance * 14 / 16)
    assert theirs.entropy == true.entropy


@pytest.mark.parametrize(
    ('model', 'arguments', 'size', 'message'),
    [
        (make_vit, dict(layers=[4]), 64, 'layers 1 to 3'),
        (make_vit, dict(px_per_token='autors'), 64, "'authors' \\(14\\) or a positive number"),
        (make_vit, dict(px_per_token=0), 64, 'a positive number'),
        (make_vit, {}, 72, 'take --size 64'),
        (make_hiera, dict(px_per_token=14), 64, 'Hiera'),
        (make_hiera, {}, 80, 'mask units; take --size 64'),
        (partial(torch.nn.Linear, 2, 2), {}, 64, 'Linear does not show its attention'),
    ],
)
def test_what_makes_no_sense_is_named(model, arguments, size, message):
    with pytest.raises(UserError, match=message):
        AttentionStats(model(), **arguments).update(images(1, size))


def tokens_of_windows(side, window):
    """Return the raster numbers of the patches of each window of a side x side grid."""
    rows = torch.arange(side * side).reshape(side, side).split(window)
    return [part.flatten().tolist() for row in rows for part in row.split(window, dim=1)]


@pytest.mark.parametrize(
    ('window', 'options'),
    [(2, DECOMPOSED), (2, BIAS), (3, {}), (5, {})],
    ids=['relative position', 'bias', 'filled up', 'one window larger than the image'],
)
def test_windows_have_the_numbers_of_plain_blocks_run_on_each(window, options):
    """Distance and entropy of a windowed layer; fillings are neither queries nor keys."""
    model = make_vit(cls_token=False, window=dict(size=window, global_blocks=(1,)), **options)
    batch = images()
    found = attention_stats(model, [batch])
    hidden = model.encode(batch, hidden_of=(0, 1, 2)).hidden
    for layer, side in ((1, window), (2, 4), (3, window)):
        block, parts = model.blocks[layer - 1], tokens_of_windows(4, side)
        weighted = []
        for part in parts:
            tokens, places = block.norm1(hidden[layer - 1][:, part]), [CENTRES[i] for i in part]
            rows = math.isqrt(len(part))  # full windows alone have relative positions here
            logits = block.attn.logits(tokens, (rows, rows))
            numbers = torch.tensor(straight_line(logits, places, places), dtype=torch.float64)
            weighted.append(len(part) / 16 * numbers)
        ours = found[layer - 1]
        assert_close(ours, *sum(weighted).tolist())
        counts = [len(part) for part in parts]
        assert (ours.tokens, ours.patch) == (max(counts), 16)
        assert ours.max_entropy == pytest.approx(sum(n * math.log(n) for n in counts) / 16)
        gaps = [[math.dist(CENTRES[i], CENTRES[j]) for j in part] for part in parts for i in part]
        assert ours.max_distance == pytest.approx(sum(max(row) for row in gaps) / 16)
        assert ours.uniform_distance == pytest.approx(sum(sum(r) / len(r) for r in gaps) / 16)


def test_agreement_of_filled_windows_is_refused_and_of_whole_ones_is_not():
    model, size = make_vit(cls_token=False, window=dict(size=2)), ((64, 64), (64, 64))
    same = attention_agreement(model, model, [(images(), images())], [(1, 1)])[0]
    assert (same.kl, same.explained) == (pytest.approx(0, abs=1e-12), pytest.approx(1))
    with pytest.raises(UserError, match='choose a --size of whole windows'):
        AttentionAgreement(*[make_vit(cls_token=False, window=dict(size=3))] * 2, [(1, 1)], size)
