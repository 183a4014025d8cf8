"""Stages that say what the others changed: evaluation, red teaming, controls; a folder a stage."""
