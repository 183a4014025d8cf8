"""Weights in and out: our folders, Hugging Face, Meta, GGUF, and conversion between them."""
