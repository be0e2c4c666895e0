"""Distillation as a component: decoupling, options, alignment, values against straight lines."""

import functools
import itertools
from typing import Any

import pytest
import torch
from mmengine.model import ExponentialMovingAverage
from torch import Tensor, nn

from lightvit_dense.models import MAE
from lightvit_dense.models.layers import Attention, QueryKeyBlock
from lightvit_dense.models.pretraining import distillation
from lightvit_dense.models.pretraining import teacher as teachers
from lightvit_dense.models.pretraining.distillation import attention_r2
from lightvit_dense.models.pretraining.standardization import HeadStandardizer
from lightvit_dense.models.pretraining.teacher import TeacherInput
from tests.helpers.models import NORMALISER, distiller, reached, vit

STUDENT, DECODER = vit(depth=4), dict(embed_dim=16, num_heads=2)
TEACHER = dict(embed_dim=48, depth=3, num_heads=6)
LARGER, PLAIN = vit(**TEACHER, img_size=64), vit(**TEACHER, cls_token=False)
GENERATOR = torch.Generator().manual_seed(0)
IMAGE = torch.randn(2, 3, 32, 32, generator=GENERATOR)
NOISE = torch.rand(2, 16, generator=GENERATOR)
KEPT = NOISE.argsort(1)[:, :4]


def distilled(teacher: dict | None = None, **options: Any) -> MAE:
    """Build a small MAE with a distiller, whose options these are but for the MAE's own."""
    torch.manual_seed(0)
    own = {k: options.pop(k) for k in ('reconstruct_after', 'data_preprocessor') if k in options}
    component = distiller(teacher or vit(**TEACHER), **options)
    return MAE(STUDENT, decoder=DECODER, distiller=component, **own)


def decoupled(**options: Any) -> MAE:
    return distilled(reconstruct_after=2, pairs=[(5, 3)], extra_layer=True, **options)


def test_decoupled_losses_follow_the_equations() -> None:
    model = decoupled().double()
    image, noise = IMAGE.double(), NOISE
    losses = model.loss(image, noise=noise)
    x, grid = model.backbone.embed(image, KEPT)
    z = [x]
    for block in model.backbone.blocks:
        z.append(block(z[-1], grid)[0])
    extra, teacher = model.distiller.query_key_block, model.distiller.teacher
    q, k = extra.qk(normalised(z[4], extra.norm1)).split(32, -1)
    t, _ = teacher.embed(image, KEPT)
    for block in teacher.blocks[:2]:
        t, _ = block(t, grid)
    target = teacher.blocks[2].logits(t)
    weight = model.distiller.head_maps[0].weight[:, :, 0, 0]
    total = 0.0
    for b, o in itertools.product(range(2), range(6)):
        found = 0.0
        for h, part in enumerate(slice(8 * h, 8 * h + 8) for h in range(4)):
            found = found + weight[o, h] * (q[b, :, part] @ k[b, :, part].T) / 8**0.5
        total = total + (found - target[b, o]).square().mean()
    torch.testing.assert_close(losses['loss_distill'], total / 12)
    masking = model._mask(image, noise)
    pred = model.decoder(model.backbone.norm(z[2]), masking)
    expected = model.reconstruction_loss(image, pred, masking)
    torch.testing.assert_close(losses['loss_reconstruction'], expected)


def test_the_query_key_block_is_an_attention_without_values() -> None:
    block, attention = QueryKeyBlock(32, 4), Attention(32, 4)
    block.qk.weight.data.copy_(attention.qkv.weight[:64])
    block.qk.bias.data.copy_(attention.qkv.bias.data.normal_()[:64])
    x = torch.randn(2, 5, 32)
    torch.testing.assert_close(block.logits(x), attention.logits(block.norm1(x)))
    with pytest.raises(ValueError, match='5 heads do not divide a width of 32'):
        QueryKeyBlock(32, 5)


def maps_of(model: MAE, layer: int, extra: int = 0) -> tuple[Tensor, Tensor]:
    """Return the student's logits of a layer and the teacher's of one ``extra`` layers above."""
    student = model.backbone.encode(IMAGE, KEPT, (layer,)).logits[layer]
    above = layer + extra
    return student, model.distiller.teacher.attention_logits(IMAGE, (above,), KEPT)[above]


def mixed(model: MAE, student: Tensor) -> Tensor:
    weight = model.distiller.head_maps[0].weight[..., 0, 0]
    return torch.einsum('oi,biqk->boqk', weight, student)


def test_softmax_maps_are_an_option() -> None:
    model = distilled(pairs=[(2, 2)], target='softmax')
    student, teacher = (x.softmax(-1) for x in maps_of(model, 2))
    expected = (mixed(model, student) - teacher).square().mean()
    torch.testing.assert_close(model.loss(IMAGE, noise=NOISE)['loss_distill'], expected)


def standardized(decouple: bool) -> MAE:
    """Build a small D-MAE or D²-MAE with the target that knows no scale."""
    build = decoupled if decouple else functools.partial(distilled, pairs=[(4, 3)])
    return build(target='standardized')


@pytest.mark.parametrize('decouple', [False, True])
def test_standardized_targets_have_mean_0_and_deviation_1_over_all_that_was_seen(
    decouple: bool,
) -> None:
    model, teacher = standardized(decouple), []
    for image in (IMAGE, IMAGE.flip(0) * 2 + 1):
        loss = model.loss(image, noise=NOISE)['loss_distill']
        teacher.append(model.distiller.teacher.attention_logits(image, (3,), KEPT)[3])
    encoding = model.encode(image, KEPT)
    mapped = mixed(model, model.distiller.student_logits(encoding)[5 if decouple else 4])
    expected = 0.0
    for head in range(6):
        seen = torch.cat([x[:, head].flatten() for x in teacher])
        target = (teacher[1][:, head] - seen.mean()) / seen.std(correction=0)
        expected = expected + (mapped[:, head] - target).square().mean() / 6
    torch.testing.assert_close(loss, expected)


def test_the_scale_of_a_teacher_does_not_matter_to_standardized_targets() -> None:
    losses = {}
    for scale in (1, 3):
        for target in ('logits', 'standardized'):
            model = distilled(pairs=[(4, 3)], target=target)
            qkv = model.distiller.teacher.blocks[2].attn.qkv
            qkv.weight.data[:96] *= scale
            qkv.bias.data[:96] *= scale
            model.distiller.head_maps[0].weight.data.zero_()
            losses[target, scale] = model.loss(IMAGE, noise=NOISE)['loss_distill'].item()
    assert losses['logits', 3] == pytest.approx(81 * losses['logits', 1], rel=1e-4)
    # A student that says nothing has a loss of 1.
    assert losses['standardized', 1] == pytest.approx(1, rel=1e-5)
    assert losses['standardized', 3] == pytest.approx(1, rel=1e-5)


def test_statistics_of_the_teacher_are_in_the_checkpoint() -> None:
    whole, other = standardized(False), standardized(False)
    with pytest.raises(RuntimeError, match='no statistics of the teacher yet: load a checkpoint'):
        other.eval().loss(IMAGE, noise=NOISE)
    whole.loss(IMAGE, noise=NOISE)
    state = whole.state_dict()
    assert {n for n in state if 'standard' in n} == {'distiller.standardizers.0.sums'}
    other.train().load_state_dict(state)
    losses = [m.loss(2 * IMAGE, noise=NOISE)['loss_distill'] for m in (whole, other)]
    assert torch.equal(*losses)
    seen = whole.state_dict()['distiller.standardizers.0.sums'].clone()
    whole.eval().loss(IMAGE, noise=NOISE)  # evaluation adds nothing
    assert torch.equal(whole.distiller.standardizers[0].sums, seen)


def test_a_head_that_is_constant_is_standardized_to_0() -> None:
    logits = torch.tensor([0.0, 1e-3, 3.3, 1e6]).view(1, 4, 1, 1).expand(2, 4, 5, 5)
    assert HeadStandardizer(4)(logits).abs().max() < 1e-3


def test_head_maps_can_be_shared_or_left_out() -> None:
    apart = distilled(pairs='all').distiller
    assert apart.pairs == [(1, 1), (2, 2), (3, 2), (4, 3)]  # by relative depth
    assert len(apart.head_maps) == 4
    shared = distilled(pairs=[(1, 1), (2, 3)], head_map='shared')
    assert len(shared.distiller.head_maps) == 1
    expected = 0.0  # a sum, as in the authors' code
    for extra, layer in ((0, 1), (1, 2)):
        student, teacher = maps_of(shared, layer, extra)
        expected = expected + (mixed(shared, student) - teacher).square().mean()
    torch.testing.assert_close(shared.loss(IMAGE, noise=NOISE)['loss_distill'], expected)
    plain = distilled(vit(48, 3, 4), pairs=[(2, 2)], head_map='identity')
    assert len(plain.distiller.head_maps) == 0
    student, teacher = maps_of(plain, 2)
    expected = (student - teacher).square().mean()
    torch.testing.assert_close(plain.loss(IMAGE, noise=NOISE)['loss_distill'], expected)


def stir_norms(module: nn.Module) -> None:
    """Move all norms away from 1 and 0, which would hide that they are left out."""
    for name, parameter in module.named_parameters():
        if 'norm' in name:
            parameter.data.add_(0.3 * torch.randn_like(parameter))


def normalised(x: Tensor, norm: nn.Module) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    unit = centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    return unit * norm.weight + norm.bias


def hidden_error(model: MAE, pair: int, ours: Tensor, norm: nn.Module, target: Tensor) -> Tensor:
    """Return the error of one hidden state, normalised and mapped to the teacher's width."""
    mapped = normalised(ours, norm) @ model.distiller.hidden_maps[pair].weight.T
    return (mapped - target).square().mean()


def test_hidden_states_can_be_matched() -> None:
    model = distilled(pairs=[(4, 3)], hidden_pairs=[(4, 3), (1, 1)], hidden_weight=0.5)
    for module in (model.backbone, model.distiller.teacher):
        stir_norms(module)
    losses = model.loss(IMAGE, noise=NOISE)
    student, teacher = model.backbone, model.distiller.teacher
    ours = student.encode(IMAGE, KEPT, hidden_of=(1, 4)).hidden
    theirs = teacher.encode(IMAGE, KEPT, hidden_of=(1, 3)).hidden
    target = normalised(theirs[3], teacher.norm)
    expected = hidden_error(model, 0, ours[4], student.norm, target)
    target = normalised(theirs[1], teacher.blocks[1].norm1)
    expected = expected + hidden_error(model, 1, ours[1], student.blocks[1].norm1, target)
    torch.testing.assert_close(losses['loss_hidden'], expected / 2)
    assert set(losses) == {'loss_reconstruction', 'loss_distill', 'loss_hidden'}
    learnt = reached(losses['loss_hidden'], model)
    assert learnt >= {'backbone.norm.weight', 'backbone.blocks.1.norm1.bias'}
    assert not any('norm' in name for name in model.distiller.state_dict())
    assert distilled(pairs=[(4, 3)], reconstruct_after=4).reconstruct_after is None
    # It also trains the last block, so that the decoder may read an earlier one.
    assert distilled(pairs=[(3, 2)], hidden_pairs=[(4, 3)], reconstruct_after=2).reconstruct_after


def test_teacher_stops_at_the_last_query_key_product_without_autograd() -> None:
    component, ran = distilled(pairs=[(3, 2)]).distiller, []
    for index, block in enumerate(component.teacher.blocks):
        block.attn.proj.register_forward_hook(lambda *_, i=index: ran.append(i))
    assert not component.teacher_view(IMAGE, KEPT).logits[2].requires_grad
    assert ran == [0]


@pytest.mark.parametrize(
    ('name', 'fast', 'cast'),
    [('fp32', True, False), ('bf16', False, True), ('auto', True, True), ('auto', False, False)],
)
def test_the_teacher_is_cast_once(monkeypatch, name: str, fast: bool, cast: bool) -> None:
    monkeypatch.setattr(teachers, 'fast_in_bf16', lambda device: fast)
    options = dict(pairs=[(4, 3)], hidden_pairs=[(4, 3), (1, 1)])
    exact = distilled(**options)
    model = distilled(**options, teacher_dtype=name).to('cpu')
    # The Runner moves a model before it loads weights.
    model.distiller.teacher.load_state_dict(exact.distiller.teacher.state_dict())
    weights = [*model.distiller.teacher.parameters(), *model.state_dict().values()]
    assert {w.dtype for w in weights} == {torch.float32} | ({torch.bfloat16} if cast else set())
    found, expected = (each.loss(IMAGE, noise=NOISE) for each in (model, exact))
    torch.testing.assert_close(found, expected, rtol=0.01 if cast else 0, atol=0)
    view = functools.partial(model.distiller.teacher_view, IMAGE, KEPT)
    with torch.autocast('cpu', torch.bfloat16):
        under = view().logits[3]
    assert torch.equal(under, view().logits[3]) == cast  # AMP changes it no more


def test_the_decoupled_block_normalises_the_last_hidden_state() -> None:
    """In the authors' student of 13 blocks it is the 13th that reads layer 12."""
    model = decoupled(hidden_pairs=[(4, 3)])
    for module in (model.backbone, model.distiller):
        stir_norms(module)
    ours = model.backbone.encode(IMAGE, KEPT, hidden_of=(4,)).hidden[4]
    theirs = model.distiller.teacher.encode(IMAGE, KEPT).tokens
    expected = hidden_error(model, 0, ours, model.distiller.query_key_block.norm1, theirs)
    torch.testing.assert_close(model.loss(IMAGE, noise=NOISE)['loss_hidden'], expected)


def test_teachers_of_timm_hand_on_normalised_outputs() -> None:
    teacher = dict(type='lightvit_dense.TimmTeacher', name='vit_tiny_patch16_224', img_size=64)
    model = distilled(
        teacher, pairs=[(4, 2)], hidden_pairs=[(4, 12), (1, 5)], teacher_input=dict(size=64)
    )
    network = model.distiller.teacher.model
    stir_norms(network)
    found = {}
    for key, norm in (('last', network.norm), ('first', network.blocks[5].norm1)):
        norm.register_forward_hook(lambda _m, _a, out, key=key: found.setdefault(key, out))
    model.distiller.teacher.encode(model.distiller.teacher_input(IMAGE), KEPT)
    ours = model.backbone.encode(IMAGE, KEPT, hidden_of=(1, 4)).hidden
    student = model.backbone
    expected = hidden_error(model, 0, ours[4], student.norm, found['last'])
    expected += hidden_error(model, 1, ours[1], student.blocks[1].norm1, found['first'])
    torch.testing.assert_close(model.loss(IMAGE, noise=NOISE)['loss_hidden'], expected)


@pytest.mark.parametrize('tokens', ['class', 'patches'])
def test_registers_are_dropped_on_request(tokens: str) -> None:
    registers = dict(type='lightvit_dense.TimmTeacher', name='vit_small_patch14_reg4_dinov2')
    registers |= dict(img_size=56)
    model = distilled(registers, pairs=[(4, 2)], tokens=tokens, teacher_input=dict(size=56))
    teacher = model.distiller.teacher
    resized = model.distiller.teacher_input(IMAGE)
    assert resized.shape == (2, 3, 56, 56)
    theirs = teacher.attention_logits(resized, (2,), KEPT)[2].detach()
    assert theirs.shape == (2, 6, 9, 9)  # class token, 4 registers, 4 patches
    student = model.backbone.encode(IMAGE, KEPT, (4,)).logits[4]
    places = [0, 5, 6, 7, 8] if tokens == 'class' else [5, 6, 7, 8]
    theirs = theirs[:, :, places][..., places]
    student = student if tokens == 'class' else student[:, :, 1:, 1:]
    loss = model.loss(IMAGE, noise=NOISE)['loss_distill']
    torch.testing.assert_close(loss, (mixed(model, student) - theirs).square().mean())
    assert set(model.attention_agreement(IMAGE)) == {f'layer_{i}' for i in (1, 2, 3, 4)}


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(pairs=[(5, 3)]), r'student layer 5; it has 1\.\.4'),
        (dict(pairs=[(4, 4)]), r'teacher layer 4; it has 1\.\.3'),
        (dict(hidden_pairs=[(5, 1)]), r'hidden_pairs.*student layer 5; it has 1\.\.4'),
        (
            dict(hidden_pairs=[(4, 3)], teacher=vit(**TEACHER, final_norm=False)),
            'VisionTransformer has no norm behind layer 3; build it with final_norm=True',
        ),
        (dict(reconstruct_after=2), 'reconstruct_after=2 leaves the blocks behind it'),
        (dict(extra_layer=True), 'extra_layer=True adds student layer 5'),
        (dict(pairs='some'), "'all' or a list"),
        (dict(pairs=[(1, 1), (1, 2)]), 'name each student layer once'),
        (dict(pairs=[]), 'name each student layer once'),
        (dict(target='probabilities'), 'target is one of'),
        (dict(head_map='one'), 'head_map is one of'),
        (dict(tokens='some'), 'tokens is one of'),
        (dict(teacher_dtype='fp16'), 'teacher_dtype is one of'),
        (dict(head_map='identity'), r"'identity' needs equal heads.*\(4, 6\)"),
        (dict(teacher=LARGER), r'\(4, 4\), teacher \(8, 8\).*img_size=\(32, 32\)'),
        (dict(teacher=PLAIN), 'student 1, teacher 0 prefix tokens'),
        (dict(teacher=PLAIN, tokens='class'), 'needs a class token on both sides'),
        (dict(teacher_input=dict(mean=[0.0] * 3)), 'give both mean and std'),
        (dict(teacher_input=dict(mean=[0.0] * 3, std=[1.0] * 3)), "the student's are not known"),
    ],
)
def test_what_does_not_line_up_fails_when_it_is_built(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        distilled(**({'pairs': [(2, 2)]} | options))


def test_teachers_get_their_own_normalisation_and_size() -> None:
    own = dict(mean=[100.0, 110.0, 120.0], std=[50.0, 55.0, 60.0])
    model = distilled(pairs=[(2, 2)], data_preprocessor=NORMALISER, teacher_input=own)
    pixels = torch.rand(2, 3, 32, 32) * 255
    mean, std = (torch.tensor(own[key]).reshape(3, 1, 1) for key in ('mean', 'std'))
    converted = model.distiller.teacher_input((pixels - 120) / 60)
    torch.testing.assert_close(converted, (pixels - mean) / std, atol=1e-4, rtol=0)
    assert not any('teacher_input' in name for name in model.state_dict())
    smooth = torch.linspace(0, 1, 32).expand(1, 3, 32, 32)
    shrunk = TeacherInput(size=28)(smooth)
    torch.testing.assert_close(shrunk.mean(), smooth.mean(), atol=1e-4, rtol=0)


@pytest.mark.parametrize('scale', [1.0, 1e4])
def test_losses_stay_finite_where_half_precision_would_not(scale: float) -> None:
    model = decoupled()
    masking = model._mask(IMAGE, NOISE)
    pred = (scale * torch.randn(2, 12, 192)).half()
    encoding = model.encode(IMAGE, masking.ids_keep, (2,))
    assert (pred.square().sum().isfinite()) == (scale == 1.0)  # fp16 ends at 65504
    assert model.reconstruction_loss(IMAGE, pred, masking).isfinite()
    half = {layer: (scale * x.sign()).half() for layer, x in encoding.hidden.items()}
    with torch.autocast('cpu', dtype=torch.float16):
        loss = model.distiller(IMAGE, encoding._replace(hidden=half), masking.ids_keep)
        coupled = distilled(pairs=[(2, 2)])
        logits = {2: (scale * torch.randn(2, 4, 5, 5)).half()}
        plain = coupled.distiller(IMAGE, encoding._replace(logits=logits), masking.ids_keep)
    for value in (loss['loss_distill'], plain['loss_distill']):
        assert value.dtype == torch.float32
        assert value.isfinite()


def test_agreement_counts_the_extra_layer() -> None:
    agreement = decoupled().attention_agreement(IMAGE)
    assert list(agreement) == [f'layer_{i}' for i in range(1, 6)]
    assert all(0 < value < 1 for value in agreement.values())


def test_attention_r2_is_least_squares_and_zero_for_uniform_attention() -> None:
    student, teacher = torch.randn(2, 3, 5, 5), torch.randn(2, 4, 5, 5)
    a, b = (
        (x - x.mean(-1, keepdim=True)).permute(0, 2, 3, 1).reshape(50, -1).double()
        for x in (student, teacher)
    )
    residual = b - a @ torch.linalg.lstsq(a, b).solution
    expected = 1 - residual.square().sum() / b.square().sum()
    assert attention_r2(student, teacher) == pytest.approx(expected.item())
    assert attention_r2(torch.ones(2, 3, 5, 5), teacher) == 0
    assert attention_r2(student, torch.ones(2, 4, 5, 5)) == 0


def test_a_random_teacher_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(distillation, 'print_log', lambda text, **_: told.append(text))
    distilled(pairs=[(4, 3)]).distiller.init_weights()
    assert ['random weights' in text for text in told] == [True]


def test_a_moving_average_borrows_the_teacher_and_does_not_move_it() -> None:
    model = distilled(pairs=[(4, 3)], hidden_pairs=[(4, 3)])
    wanted = model.loss(IMAGE, noise=NOISE)
    average = ExponentialMovingAverage(model).module
    assert average.distiller.teacher is model.distiller.teacher
    torch.testing.assert_close(average.loss(IMAGE, noise=NOISE), wanted)
    ExponentialMovingAverage(model, device='meta')
    torch.testing.assert_close(model.loss(IMAGE, noise=NOISE), wanted)
