"""The transformer and the modules built on it; knows no file format."""
