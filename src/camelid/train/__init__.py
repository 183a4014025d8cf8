"""The one training loop, its objectives, optimizer, checkpoints and metrics."""
