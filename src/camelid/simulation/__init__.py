"""The simulated pocket world: its facts, texts, prompts, annotators and judge."""
