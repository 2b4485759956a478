"""Procedural inspection images: surfaces, parts and generic defects with exact masks and prompts."""
