"""What the documents say holds: every command, name, path and option in them.

Each command in a bash fence must be taken by exactly one of ``HANDLERS``; a new kind of command
needs a new handler. Launchers really run, with an interpreter that only writes down what it was
asked for; tools parse the arguments by their own parsers and their configs are loaded and checked.
"""

import argparse
import ast
import importlib
import inspect
import itertools
import os
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from unittest import mock

import cv2
import pytest
import torch
import yaml

import lightvit_dense
import tracking.registry
from lightvit_dense import apis, registry
from lightvit_dense.datasets.toyworld import WorldSpec
from lightvit_dense.engine.options import DEFAULTS
from lightvit_dense.errors import UserError
from lightvit_dense.suite.executors import device_slots
from lightvit_dense.suite.spec import read_suite
from lightvit_dense.utils.home import tools
from tests.helpers.photos import photo
from tests.helpers.small_dense import write_film

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *sorted((ROOT / 'docs').glob('*.md'))]
ASSIGNMENT = re.compile(r'[A-Z_]+=')


def fences(path: Path, language: str) -> list[str]:
    """Return the contents of a document's code fences of a language."""
    found = re.findall(r'^```(\w*)\n(.*?)^```$', path.read_text(encoding='utf-8'), re.M | re.S)
    return [text for name, text in found if name == language]


def commands_of(path: Path) -> list[str]:
    """Return the commands in a document's bash fences; continued lines are joined."""
    text = '\n'.join(fences(path, 'bash')).replace('\\\n', ' ')
    return [line for line in text.splitlines() if shlex.split(line, comments=True)]


def without_fences(path: Path) -> str:
    return re.sub(r'^```.*?^```$', '', path.read_text(encoding='utf-8'), flags=re.M | re.S)


COMMANDS = [
    pytest.param(line, id=f'{path.name}: {" ".join(line.split())}')
    for path in DOCUMENTS
    if path.name != 'your_data.md'  # run by tests/test_newdata/test_your_data.py
    for line in commands_of(path)
]


class Reader:
    """What handlers need: a place of their own and the tools' parsers."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tmp_path, self.monkeypatch = tmp_path, monkeypatch
        monkeypatch.chdir(ROOT)
        monkeypatch.setenv('LOCAL_RANK', '0')  # the parsers set it; it must be put back
        monkeypatch.setenv('LIGHTVIT_DATA', str(tmp_path / 'no_data'))

    def parse(self, tool: str, words: list[str]) -> argparse.Namespace:
        """Parse arguments as the tool does; an unknown flag exits."""
        self.monkeypatch.setattr(sys, 'argv', [tool, *words])
        return parser_of(tool)()


@cache
def parser_of(tool: str) -> Callable[[], argparse.Namespace]:
    return runpy.run_path(str(ROOT / tool))['parse_args']


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    return Reader(tmp_path, monkeypatch)


def make(words: list[str], reader: Reader) -> None:
    text = (ROOT / 'Makefile').read_text()
    phony = re.search(r'^\.PHONY:(.*)$', text, re.M).group(1).split()
    for word in words[1:]:
        name, _, value = word.partition('=')
        assert f'\n{name} ?=' in text if value else name in phony, f'no {name} in the Makefile'
        assert value or re.search(rf'^{name}:.*##', text, re.M), f'make help does not list {name}'


def activate(words: list[str], reader: Reader) -> None:
    assert 'venv=.venv\n' in (ROOT / 'tools/setup_env.sh').read_text()


def set_data_root(words: list[str], reader: Reader) -> None:
    name, value = words[1].split('=')
    reader.monkeypatch.setenv(name, value)
    cfg = apis.load_config('configs/coco/maskrcnn_dmae_tiny.py')
    assert cfg.train_dataloader.dataset.data_root == f'{value}/coco/'


@cache
def requirements() -> dict[str, dict]:
    """Return what setup.py hands to setuptools."""
    with mock.patch('setuptools.setup') as setup:
        runpy.run_path(str(ROOT / 'setup.py'))
    return setup.call_args.kwargs


def install(words: list[str], reader: Reader) -> None:
    extras = requirements()['extras_require']
    assert set(extras[words[3][2:-1]]) == set(itertools.chain(*extras.values()))


def train(words: list[str], reader: Reader) -> None:
    """The config loads with its options, and without data the answer names the README's section."""
    args = reader.parse('tools/train.py', words[2:])
    with pytest.raises(UserError, match="section 'Prepare data'"):
        apis.check_training(args.config, args.work_dir, args.resume, args.cfg_options)


def test_tool(words: list[str], reader: Reader) -> None:
    args = reader.parse('tools/test.py', words[2:])
    with pytest.raises(UserError, match="section 'Prepare data'"):
        apis.check_testing(args.config, args.checkpoint, args.cfg_options)
    cfg = apis.load_config(args.config, args.cfg_options)
    length = cfg.train_cfg
    name = f'iter_{length.max_iters}' if 'max_iters' in length else f'epoch_{length.max_epochs}'
    checkpoint = Path('work_dirs', Path(args.config).stem, f'{name}.pth')
    assert args.checkpoint == str(checkpoint), 'training does not leave this file'
    assert (args.out or '.pkl').endswith('.pkl')
    assert not args.verify or apis.read_expected(cfg)
    assert set(args.extra) <= set(cfg.get('extra_tests') or ())


test_tool.__test__ = False


def parse_tool(words: list[str], reader: Reader) -> None:
    """The tool has these options; what it does with them is for its own tests."""
    args = reader.parse(words[1], words[2:])
    if words[1].endswith('make_toyworld.py'):
        WorldSpec(seed=args.seed, image_size=args.image_size, train=args.train, val=args.val)


def run_benchmark(words: list[str], reader: Reader) -> None:
    """The suite is read and checked, with the part of it that the command takes."""
    args = reader.parse('tools/run_benchmark.py', words[2:])
    options = dict(args.cfg_options or {})
    options |= {key: 'README.md' for key in options if key.endswith('.checkpoint')}  # a file
    suite = read_suite(args.suite, ROOT, args.inits, args.tasks, args.seeds, options)
    assert suite.cells()
    if args.executor == 'local':
        device_slots(args.gpus, args.gpus_per_job)


def launch(words: list[str], reader: Reader) -> None:
    """Run the launcher; look at what it asks of the interpreter, or of srun."""
    log, bin_dir = reader.tmp_path / 'log', reader.tmp_path / 'bin'
    bin_dir.mkdir()
    for name in ('python', 'srun'):
        text = '#!/bin/bash\n[[ "$1" == -c ]] && echo 29123 && exit\n'  # a port is asked for by -c
        (bin_dir / name).write_text(f'{text}printf "%q " {name} "$@" >> {log}\necho >> {log}\n')
        (bin_dir / name).chmod(0o755)
    env = {k: v for k, v in os.environ.items() if k not in ('NNODES', 'NODE_RANK', 'PORT')}
    env |= {'PYTHON': str(bin_dir / 'python'), 'PATH': f'{bin_dir}:{env["PATH"]}'}
    line = ' '.join(word if ASSIGNMENT.match(word) else shlex.quote(word) for word in words)
    done = subprocess.run(['bash', '-c', line], env=env, cwd=ROOT, capture_output=True)
    assert done.returncode == 0, done.stderr
    preflight, job = map(shlex.split, log.read_text().splitlines())
    assert preflight[-1] == '--preflight'
    place = next(i for i, word in enumerate(job) if word.startswith(str(ROOT / 'tools')))
    tool = Path(job[place]).name
    {'train.py': train, 'test.py': test_tool}[tool](['python', tool, *job[place + 1 :]], reader)
    given = dict(word.split('=') for word in words if ASSIGNMENT.match(word))
    if 'slurm' in line:
        wanted = {f'--ntasks={given["GPUS"]}', f'--ntasks-per-node={given["GPUS_PER_NODE"]}'}
    else:
        gpus = next(word for word in words if re.fullmatch(r'\d+', word))
        wanted = {'torch.distributed.run', f'--nproc_per_node={gpus}'}
        wanted |= {f'--nnodes={given.get("NNODES", 1)}'}
        wanted |= {f'--node_rank={given.get("NODE_RANK", 0)}'}
    assert wanted <= set(job[:place])


PYTHON = r'(\.venv/bin/)?python '
HANDLERS: dict[str, Callable[[list[str], Reader], object]] = {
    r'make \S': make,
    r'source \.venv/bin/activate$': activate,
    r'export LIGHTVIT_DATA=\S+$': set_data_root,
    r'pip install -e \S+$': install,
    PYTHON + r'tools/train\.py ': train,
    PYTHON + r'tools/test\.py ': test_tool,
    PYTHON + r'tools/dataset_converters/\w+\.py': parse_tool,
    PYTHON
    + r'tools/((benchmark|analysis_tools)/\w+|build_docs|doctor|infer|new_config)\.py': parse_tool,
    PYTHON + r'tools/(deploy/export|model_converters/\w+)\.py ': parse_tool,
    PYTHON + r'tools/run_benchmark\.py ': run_benchmark,
    PYTHON + r'-m pytest': lambda words, _: [(ROOT / word).resolve(True) for word in words[3:]],
    PYTHON + r'-m tracking\.tools\.\w+ ': lambda words, _: importlib.import_module(
        words[2]
    ).parse_args(words[3:]),
    r'([A-Z_]+=\S+ )*tools/(dist_train|dist_test|slurm_train)\.sh ': launch,
}


def words_of(line: str) -> list[str]:
    """Return the words of a command; one of ``lightvit`` as that of the tool behind it."""
    words = shlex.split(line, comments=True)
    if words[0] != 'lightvit':
        return words
    if '--gpus' in words:
        place = words.index('--gpus')
        assert int(words[place + 1]) > 0
        del words[place : place + 2]
    file = tools()[words[1]].relative_to(ROOT)
    module = '.'.join(file.with_suffix('').parts)
    return ['python', *(['-m', module] if 'tracking' in module else [str(file)]), *words[2:]]


@pytest.mark.parametrize('line', COMMANDS)
def test_command(line: str, reader: Reader) -> None:
    words = words_of(line)
    plain = ' '.join(words)
    taken = [handler for pattern, handler in HANDLERS.items() if re.match(pattern, plain)]
    assert len(taken) == 1, f'{len(taken)} handlers take this command: {plain}'
    taken[0](words, reader)


def test_every_handler_has_a_command() -> None:
    plain = [' '.join(words_of(param.values[0])) for param in COMMANDS]
    for pattern in HANDLERS:
        assert any(re.match(pattern, line) for line in plain), pattern


@pytest.fixture
def gallery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work where the README's Python does: beside pictures, a video and trained models."""
    (tmp_path / 'configs').symlink_to(ROOT / 'configs')
    (tmp_path / 'photos').mkdir()
    for name in ('street', 'photos/a', 'photos/b'):
        cv2.imwrite(str(tmp_path / f'{name}.jpg'), photo('astronaut')[..., ::-1])
    write_film(tmp_path / 'walk.mp4', frames=3, size=(320, 320))
    names = ['coco/maskrcnn_dmae_tiny', 'imagenet/finetune_dmae_vit-tiny_300e']
    for name in [*names, 'ade20k/upernet_dmae_tiny', 'lasot/ostrack256_dmae_tiny']:
        cfg = apis.load_config(ROOT / f'configs/{name}.py')
        cfg.model.backbone.init_cfg = None
        model = apis.build_model(cfg, device='cpu')
        path = tmp_path / f'weights/{name}.pth'
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(dict(meta=dict(cfg=cfg.pretty_text), state_dict=model.state_dict()), path)
    monkeypatch.setenv('LIGHTVIT_CHECKPOINTS', str(tmp_path / 'weights'))
    monkeypatch.chdir(tmp_path)


def test_python_of_the_readme_runs(gallery: None) -> None:
    found: dict = {}
    for block in fences(ROOT / 'README.md', 'python'):
        exec(compile(block, 'README.md', 'exec'), found)
    assert found['found'].boxes.shape == (len(found['found'].scores), 4)
    assert found['maps'].shape[:2] == (1, 12)
    torch.testing.assert_close(found['maps'].sum(-1), torch.ones(found['maps'].shape[:-1]))
    assert found['scores'].shape == (1, 1000)
    assert found['scene'].shape == (512, 512)
    assert len(found['step'].box) == 4


@pytest.mark.parametrize('name', ['docs/getting_started.md', 'docs/dense.md', 'docs/tracking.md'])
def test_python_of_the_documents_runs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    blocks = fences(ROOT / name, 'python')
    assert blocks
    for block in blocks:
        exec(compile(block, name, 'exec'), {})


@pytest.mark.parametrize('name', ['configs.md', 'classification.md'])
def test_config_fragments_name_arguments_that_exist(name: str) -> None:
    blocks = fences(ROOT / 'docs' / name, 'python')
    assert blocks
    for block in blocks:
        names: dict = {}
        exec(compile(block, name, 'exec'), {}, names)
        for fragment in names.values():
            arguments = set(inspect.signature(registry.MODELS.get(fragment['type'])).parameters)
            assert set(fragment) - {'type'} <= arguments


@pytest.mark.parametrize('path', DOCUMENTS, ids=lambda path: path.name)
def test_paths_and_names_exist(path: Path) -> None:
    text = path.read_text(encoding='utf-8')
    folders = 'configs|docs|lightvit_dense|requirements|tests|tools|tracking'
    for name in re.findall(rf'`((?:{folders})/[\w./-]*)[` ]', without_fences(path)):
        assert (ROOT / name).exists(), f'{path.name} speaks of {name}'
    own = set(re.findall(r'^class (\w+)', text, re.M))  # its examples register these
    for home in (registry, tracking.registry):
        registries = [r for r in vars(home).values() if isinstance(r, registry.Registry)]
        for name in set(re.findall(rf'\b{home.SCOPE}\.([A-Z]\w+)', text)) - own:
            found = [r.get(f'{home.SCOPE}.{name}') for r in registries if r.scope == home.SCOPE]
            assert any(found), f'{path.name} speaks of {home.SCOPE}.{name}'


def test_sections_that_messages_refer_to_exist() -> None:
    titles = re.findall(r'^## (.+)$', without_fences(ROOT / 'README.md'), re.M)
    patterns = dict(lightvit_dense=r"section '([^']+)'", configs=r'README, "([^"]+)"')
    wanted = set()
    for folder, pattern in patterns.items():
        text = ' '.join(' '.join(p.read_text().split()) for p in (ROOT / folder).rglob('*.py'))
        wanted |= set(re.findall(pattern, text))
    assert wanted >= {'Prepare data', 'Pre-trained checkpoints'}
    assert wanted <= set(titles)


def test_the_engine_options_are_all_there_with_their_defaults() -> None:
    rows = re.findall(r'^\| `(\w+)` \| `([^`]+)` \|', (ROOT / 'docs/engine.md').read_text(), re.M)
    assert {name: ast.literal_eval(default) for name, default in rows} == DEFAULTS


def test_versions_licence_and_authors_agree() -> None:
    citation = yaml.safe_load((ROOT / 'CITATION.cff').read_text())
    assert citation['version'] == lightvit_dense.__version__ == requirements()['version']
    assert citation['license'] == requirements()['license'] == 'Apache-2.0'
    licence = (ROOT / 'LICENSE').read_text()
    assert licence.split()[:4] == ['Apache', 'License', 'Version', '2.0,']
    assert 'END OF TERMS AND CONDITIONS' in licence
    assert lightvit_dense.__version__ in (ROOT / 'CHANGELOG.md').read_text()
    bibtex = ' '.join(''.join(fences(ROOT / 'README.md', 'bibtex')).split())
    for paper in citation['references']:
        assert paper['title'] in bibtex
        people = [f'{a["family-names"]}, {a["given-names"]}' for a in paper['authors']]
        assert f'{{{" and ".join(people)}}}' in bibtex
