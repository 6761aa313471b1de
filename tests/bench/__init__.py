"""Benchmarks, as ratios within one run: `pair`, `cost`, `https` and `peers`; `make bench` is all of
them."""
