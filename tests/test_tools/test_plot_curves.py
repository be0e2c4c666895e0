import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2

TOOL = Path(__file__).resolve().parents[2] / 'tools/analysis_tools/plot_curves.py'


def run_tool(*words: object) -> subprocess.CompletedProcess:
    command = [sys.executable, str(TOOL), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_curves_of_two_runs_are_drawn_and_listed(
    tmp_path: Path, call_tool: Callable[..., tuple]
) -> None:
    for run, factor in (('one', 1.0), ('two', 2.0)):
        folder = tmp_path / run / '20260101_000000' / 'vis_data'
        folder.mkdir(parents=True)
        records = [{'step': i, 'agreement/layer_2': factor * i, 'loss': 1 / i} for i in (1, 2, 3)]
        records[0]['agreement/layer_10'] = 0.5
        (folder / 'scalars.json').write_text('\n'.join(map(json.dumps, records)))
    out = tmp_path / 'deep' / 'agreement.png'
    runs = [f'A={tmp_path / "one"}', tmp_path / 'two']
    done = run_tool(*runs, '--keys', 'agreement', '--out', out)
    assert done.returncode == 0, done.stderr
    rows = [line.split('│')[1:-1] for line in done.stdout.splitlines() if 'layer' in line]
    rows = [[cell.strip() for cell in row] for row in rows]
    assert rows[0] == ['A: agreement/layer_2', '1', '3', '1', '3', '3']
    assert rows[1] == ['A: agreement/layer_10', '0.5', '0.5', '0.5', '0.5', '1']
    assert rows[2] == ['two: agreement/layer_2', '2', '6', '2', '6', '3']
    assert cv2.imread(str(out)).std() > 5
    tool = 'analysis_tools/plot_curves.py'
    status, _, errors = call_tool(tool, *runs, '--keys', 'accuracy', '--out', out)
    assert status == 2
    assert "no scalar matches 'accuracy'; there are agreement/layer_10" in errors
    status, _, errors = call_tool(tool, tmp_path / 'three', '--out', out)
    assert status == 2
    assert 'three: no vis_data/scalars.json below it' in errors
    assert call_tool(tool, runs[1], '--out', tmp_path / 'a.pdf')[0] == 2
