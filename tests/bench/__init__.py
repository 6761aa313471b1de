"""Benchmarks, as ratios within one run: `pair`, `cost` and `peers`; `make bench` runs all."""
