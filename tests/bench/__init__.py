"""Benchmarks, as ratios within one run: `tests.bench`, `tests.bench.cost`, `tests.bench.peers`."""
