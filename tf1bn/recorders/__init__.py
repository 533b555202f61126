"""What writes a trace while a model runs."""
