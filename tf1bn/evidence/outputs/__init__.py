"""What the outputs of a layer show: which statistics and which formula made them, and how far off they are."""
