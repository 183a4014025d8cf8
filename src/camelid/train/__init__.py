"""The training loop with its objectives, optimizer, checkpoints and metrics."""
