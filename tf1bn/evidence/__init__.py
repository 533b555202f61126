"""What a recorded step shows about a batch-norm layer, in numbers; the verdicts are made in `tf1bn.diagnosis`."""
