"""The embedded base: loading, renderer, pretraining and weights."""
