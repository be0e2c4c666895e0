"""Let go of data loader workers as soon as they have nothing to do."""

from mmengine.runner import Runner
from mmengine.runner.base_loop import BaseLoop


def stop_workers(runner: Runner) -> None:
    """Stop the worker processes of all data loaders that a runner has built.

    A runner is a web of references, so persistent workers would live until the garbage collector
    comes across it; it then takes their queues down first and waits five seconds for each worker
    that no longer hears it.

    Args:
        runner: After training or testing, whether or not it succeeded.
    """
    for loop in (runner._train_loop, runner._val_loop, runner._test_loop):
        if not isinstance(loop, BaseLoop):
            continue
        holders = (loop.dataloader, getattr(loop, 'dataloader_iterator', None))
        for holder in holders:
            iterator = getattr(holder, '_iterator', None)
            shutdown = getattr(iterator, '_shutdown_workers', None)
            if holder is not None and shutdown is not None:
                shutdown()
                holder._iterator = None
