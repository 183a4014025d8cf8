"""Generation and scoring with trained models."""
