"""The page, its tables, figures and cards; knows no stage."""
