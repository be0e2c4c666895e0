"""End a process that a test has started, with a dump of all stacks, when it takes too long."""

import faulthandler
import os
import sys

if 'TEST_PROCESS_SECONDS' in os.environ:
    faulthandler.dump_traceback_later(float(os.environ['TEST_PROCESS_SECONDS']), exit=True)
    # Only tests need them, and mmengine and mmdet import them for seconds where they find them.
    sys.modules.update(dict.fromkeys(('transformers', 'pandas')))
