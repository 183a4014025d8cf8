"""Statistics, the gate between two reward models, judges of real text."""
