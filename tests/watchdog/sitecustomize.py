"""End a Python process that a test has started, with a dump of all stacks, when it takes too long.

Python imports this module at its start where the folder is on PYTHONPATH; tests/conftest.py puts it
there and says after how many seconds.
"""

import faulthandler
import os

if 'TEST_PROCESS_SECONDS' in os.environ:
    faulthandler.dump_traceback_later(float(os.environ['TEST_PROCESS_SECONDS']), exit=True)
