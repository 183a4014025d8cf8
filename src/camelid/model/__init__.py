"""The transformer, the reward model and the actor-critic, with their weight files."""
