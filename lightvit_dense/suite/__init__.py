"""The benchmark suite; nothing is imported here, as a node needs ``stages`` alone."""
