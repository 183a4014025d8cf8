"""One module or package a stage of the paper: settings, inputs, outputs, report items, run."""
