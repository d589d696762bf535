"""kvproxy and its peers side by side: one run, one machine, real servers. See docs/benchmarks.md."""
