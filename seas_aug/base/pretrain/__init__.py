"""Pretraining of the embedded base on rendered images only."""
