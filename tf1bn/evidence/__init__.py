"""What one step of one batch-norm layer shows, in numbers and without a verdict."""
