import torch
from torch.nn import functional

from lightvit_dense.utils import environment as measure


def test_flops_of_an_attention_block_include_the_fused_attention():
    batch, heads, tokens, head_dim = 2, 3, 10, 8
    width = heads * head_dim
    qkv, proj = torch.nn.Linear(width, 3 * width), torch.nn.Linear(width, width)
    x = torch.randn(batch, tokens, width)

    def block():
        q, k, v = qkv(x).view(batch, tokens, 3, heads, head_dim).permute(2, 0, 3, 1, 4)
        y = functional.scaled_dot_product_attention(q, k, v)
        return proj(y.transpose(1, 2).reshape(batch, tokens, width))

    linear = 2 * batch * tokens * width * (3 * width + width)
    attention = 2 * 2 * batch * heads * tokens * tokens * head_dim
    assert measure.count_flops(block) == linear + attention


def test_flops_of_the_backward_pass_are_twice_the_forward_pass():
    layer, x = torch.nn.Linear(4, 8), torch.randn(6, 4, requires_grad=True)
    assert measure.count_flops(lambda: layer(x)) == 2 * 6 * 8 * 4
    assert measure.count_flops(lambda: layer(x).sum().backward()) == 3 * 2 * 6 * 8 * 4


def test_warmup_is_called_but_not_timed():
    calls = []
    seconds = measure.time_calls(lambda: calls.append(None), repeats=3, warmup=1)
    assert (len(calls), len(seconds)) == (4, 3)


def test_calls_end_with_the_budget():
    now = [0.0]

    def call():
        now[0] += 2.0

    options = dict(budget=1.0, clock=lambda: now[0])
    assert measure.time_calls(call, 100, 2, **options) == [2.0] * measure.MIN_CALLS
    assert now == [10.0]
    assert len(measure.time_calls(call, 2, 2, **options)) == 2


def test_cpu_peak_memory_grows_with_what_is_held():
    before = measure.peak_memory_mb(torch.device('cpu'))
    held = torch.ones(int(before) * 2**18 + 2**26)  # more than the peak so far, in fp32
    assert measure.peak_memory_mb(torch.device('cpu')) > before + 200
    del held


def test_environment_names_machine_and_versions():
    found = measure.environment()
    assert found['cpu']
    assert found['cores'] >= 1
    assert found['memory_gb'] > 0
    assert str(torch.__version__).startswith(found['versions']['torch'])
