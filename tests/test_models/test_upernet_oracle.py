"""The decode and auxiliary heads that configs use are those of another library."""

from collections.abc import Iterable

import pytest
import torch
from mmengine.registry import init_default_scope
from torch import Tensor, nn
from torch.testing import assert_close
from transformers import UperNetConfig, ViTConfig
from transformers.models.upernet.modeling_upernet import UperNetFCNHead, UperNetHead

import lightvit_dense  # noqa: F401
from lightvit_dense.registry import MODELS

WIDTHS = [4, 8, 16, 32]
# Hugging Face's names of the same modules.
NAMES = {'conv_seg': 'classifier', '.bn.': '.batch_norm.'}


def renamed(values: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    found = {}
    for name, value in values:
        for ours, theirs in NAMES.items():
            name = name.replace(ours, theirs)
        found[name] = value
    return found


def heads(which: str) -> tuple[nn.Module, nn.Module]:
    """Return mmseg's head and Hugging Face's with the same random weights."""
    init_default_scope('mmseg')  # another test's scope would choose another library's loss
    torch.manual_seed(0)
    ours = dict(num_classes=5, norm_cfg=dict(type='SyncBN'), align_corners=False, channels=8)
    config = UperNetConfig(
        backbone_config=ViTConfig(), hidden_size=8, pool_scales=[1, 2, 3, 6], num_labels=5,
        auxiliary_channels=8, auxiliary_num_convs=1, auxiliary_in_channels=16,
        auxiliary_concat_input=False,
    )  # fmt: skip
    if which == 'decode':
        ours |= dict(type='mmseg.UPerHead', in_channels=WIDTHS, in_index=[0, 1, 2, 3])
        ours |= dict(pool_scales=(1, 2, 3, 6))
        theirs = UperNetHead(config, in_channels=WIDTHS)
    else:
        ours |= dict(type='mmseg.FCNHead', in_channels=16, in_index=2, num_convs=1)
        ours |= dict(concat_input=False)
        theirs = UperNetFCNHead(config, in_channels=WIDTHS)
    head = MODELS.build(dict(ours, dropout_ratio=0.0))
    for parameter in head.parameters():
        nn.init.normal_(parameter, std=0.2)
    theirs.load_state_dict(renamed(head.state_dict().items()))
    return head, theirs


@pytest.mark.parametrize('training', [False, True], ids=['evaluation', 'training'])
@pytest.mark.parametrize('which', ['decode', 'auxiliary'])
def test_scores_and_gradients_are_hugging_faces(which: str, training: bool) -> None:
    ours, theirs = heads(which)
    maps = [torch.randn(2, width, 16 >> i, 24 >> i) for i, width in enumerate(WIDTHS)]
    found, expected = ours.train(training)(maps), theirs.train(training)(maps)
    assert found.shape[:2] == (2, 5)
    assert found.std() > 0.1
    assert_close(found, expected, rtol=1e-4, atol=1e-5)
    for output in (found, expected):
        output.square().mean().backward()
    learnt = renamed(ours.named_parameters())
    assert set(learnt) == {name for name, _ in theirs.named_parameters()}
    for name, parameter in theirs.named_parameters():
        assert_close(learnt[name].grad, parameter.grad, rtol=1e-4, atol=1e-5)
    statistics = renamed(ours.named_buffers())
    for name, value in theirs.named_buffers():
        assert_close(statistics[name], value)
