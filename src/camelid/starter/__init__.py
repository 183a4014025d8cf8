"""What `camelid init` copies: a recipe and a few rows of every format."""
