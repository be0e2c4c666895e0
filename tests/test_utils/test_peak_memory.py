import subprocess
import sys

from lightvit_dense.utils import memory


def test_a_child_does_not_inherit_the_peak_of_its_parent():
    held = bytearray(300 << 20)
    code = 'from lightvit_dense.utils.memory import peak_resident_mb; print(peak_resident_mb())'
    child = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    del held
    assert 1 < float(child.stdout) < 250
    assert memory.peak_resident_mb() > 300


def test_a_process_that_is_gone_has_no_memory():
    child = subprocess.Popen([sys.executable, '-c', ''])
    child.wait()
    assert memory.family_peak_mb(child.pid) == 0.0


def test_the_largest_of_a_family_counts():
    code = 'x = bytearray(150 << 20); print(1, flush=True); input()'
    pipes = {'stdin': subprocess.PIPE, 'stdout': subprocess.PIPE}
    parent_code = f'import subprocess, sys; subprocess.run([sys.executable, "-c", {code!r}])'
    parent = subprocess.Popen([sys.executable, '-c', parent_code], **pipes)
    parent.stdout.readline()
    assert 150 < memory.family_peak_mb(parent.pid) < 400
    parent.communicate(b'\n')
