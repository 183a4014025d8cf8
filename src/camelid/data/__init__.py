"""Records that stages exchange, readers of public data, packing and mixes; knows no tokenizer."""
