"""Stages with which a run begins: texts, public data, a tokenizer, given weights."""
