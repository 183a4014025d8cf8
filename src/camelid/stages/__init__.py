"""One package a stage of the paper: its settings, inputs, outputs, run and report items."""
