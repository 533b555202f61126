"""What the dtypes round to: unit roundoffs and smallest numbers, once for all rooms."""
