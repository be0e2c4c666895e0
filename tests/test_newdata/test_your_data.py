"""The commands of docs/your_data.md, one after the other, on data of the same layout, shortly."""

import json
import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.helpers.data_sets import write_image
from tests.helpers.own_data import NAMES, write_maps, write_objects
from tests.helpers.tools import ROOT, call_tool

TOOLS = dict(new='new_config.py', train='train.py', test='test.py', infer='infer.py')
PAGE = (ROOT / 'docs/your_data.md').read_text(encoding='utf-8')
SECTIONS = {
    title: [
        line
        for fence in re.findall(r'```bash\n(.*?)```', text, re.S)
        for line in fence.splitlines()
    ]
    for title, text in re.findall(r'^## (.+?)\n(.*?)(?=^## |\Z)', PAGE, re.M | re.S)
    if '```bash' in text
}
EXAMPLES = Path('labelme-6.3.1/examples')


def prepare(command: str) -> None:
    """Do what a command does that fetches data, or leave the like of it."""
    if command.startswith('tar '):
        write_objects(EXAMPLES / 'instance_segmentation/data_dataset_coco', photos='JPEGImages')
        place = EXAMPLES / 'semantic_segmentation/data_dataset_voc'
        write_maps(place, photos='JPEGImages', maps='SegmentationClass')
        folder = EXAMPLES / 'instance_segmentation/data_annotated'
        for number in range(3):
            write_image(folder / f'{number}.jpg', (60, 80), number)
            shape = dict(label='cat', shape_type='polygon', points=[[5, 5], [40, 5], [40, 50]])
            entry = dict(shapes=[shape], imagePath=f'{number}.jpg', imageWidth=80, imageHeight=60)
            (folder / f'{number}.json').write_text(json.dumps(entry))
    elif command.startswith('mkdir -p videos'):
        for number in range(24):
            write_image(Path(f'videos/walk/img/{number:04d}.png'), (48, 64), number)
        Path('videos/walk/groundtruth.txt').write_text('10,12,20,16\n' * 24)
    elif 'make_small_sets' in command:
        tool, *words = shlex.split(command)[1:]
        call_tool(tool.removeprefix('tools/'), *words)
        for folder in Path('small/digits').glob('*/*'):
            for path in sorted(folder.iterdir())[4:]:
                path.unlink()
    elif command.startswith('cp '):
        subprocess.run(command.replace('python -c', f'{sys.executable} -c'), shell=True, check=True)


@pytest.mark.parametrize('title', SECTIONS)
def test_the_page_holds(title, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if 'same photographs' in title:
        prepare('tar ')
    for line in SECTIONS[title]:
        words = shlex.split(line)
        if words[0] != 'lightvit':
            prepare(line)
            continue
        # The checkpoint that the page names is that of the whole training.
        patterns = [re.sub(r'_\d+\.pth$', '_[0-9]*.pth', word) for word in words[2:]]
        short = [next(Path().glob(p)) if p.endswith('*.pth') else p for p in patterns]
        status = 0
        if words[1] == 'new':
            short += ['--epochs', 1, *([] if words[2] == 'tracking' else ['--size', 64])]
            labelme = words[4].endswith('data_annotated')
            status = 2 if labelme and not find_spec('supervision') else 0
        call_tool(TOOLS[words[1]], *short, status=status)
        if words[1] == 'new' and not status:
            text = Path(words[-1]).read_text()
            assert len(text.splitlines()) <= 40
            assert not any(name in text for name in NAMES)
    for folder in Path('work_dirs').iterdir():
        assert [*folder.glob('epoch_1.pth'), *folder.glob('iter_[0-9]*.pth')]
