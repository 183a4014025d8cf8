"""The paper's public benchmarks and their tables, on lm-evaluation-harness."""
