"""Records, tokenizers, chat formats and packing: all that is text or token ids, without torch."""
