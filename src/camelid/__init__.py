"""Camelid: the whole Llama 2 system (arXiv 2307.09288) as one package."""

__version__ = "0.1.0"
