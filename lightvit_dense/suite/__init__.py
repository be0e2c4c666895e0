"""The benchmark suite: initialisations times tasks, run where results are missing, then tables.

``spec`` reads a suite file, ``plan`` lays out its stages, ``runner`` runs them by ``executors``,
``collect`` gathers what they left in ``results``, ``table``, ``findings`` and ``report`` tell it.
Nothing is imported here: what runs a stage on a node needs ``stages`` alone.
"""
