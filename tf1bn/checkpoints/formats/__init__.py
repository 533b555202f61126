"""One module per checkpoint format; each turns a file into a `base.Checkpoint`."""
