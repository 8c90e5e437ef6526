"""The benchmarks behind every number in the documentation."""
