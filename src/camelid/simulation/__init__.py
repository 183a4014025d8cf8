"""The pocket world, in which the truth is computable: texts, prompts, annotators, exact judge."""
