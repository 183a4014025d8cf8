"""Run directories and what drives them: files, seeds, stages, fingerprints, the runner."""
