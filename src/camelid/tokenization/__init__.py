"""Vocabularies, SentencePiece and byte-level BPE, and the chat formats that render dialogues."""
