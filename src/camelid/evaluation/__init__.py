"""Measures of models and replies."""
