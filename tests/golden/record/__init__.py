# The recordings name what made them by where it lay at that time, tests/golden/NAME.py. The recorders go on writing
# those names, so that recording again gives the same bytes.
