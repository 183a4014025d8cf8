"""The stages of the recipe, each a `run` from the files it reads to the files it writes."""
