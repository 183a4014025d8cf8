"""The paper's methods as functions on models and records, without files or settings."""
