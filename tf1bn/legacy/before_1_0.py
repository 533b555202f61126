"""Names that TensorFlow lost in 1.0, each with the one that it has had since; no release of 1.x has them."""

RENAMED = {
    "audio_summary": "summary.audio",
    "batch_cholesky": "cholesky",
    "batch_fft": "fft",
    "batch_matmul": "matmul",
    "batch_matrix_inverse": "matrix_inverse",
    "complex_abs": "abs",
    "concat_v2": "concat",
    "histogram_summary": "summary.histogram",
    "image.per_image_whitening": "image.per_image_standardization",
    "image_summary": "summary.image",
    "inv": "reciprocal",
    "listdiff": "setdiff1d",
    "merge_all_summaries": "summary.merge_all",
    "merge_summary": "summary.merge",
    "mul": "multiply",
    "neg": "negative",
    "nn.bidirectional_rnn": "nn.static_bidirectional_rnn",
    "nn.rnn": "nn.static_rnn",
    "nn.state_saving_rnn": "nn.static_state_saving_rnn",
    "pack": "stack",
    "python.ops.array_ops.pack": "stack",
    "python.ops.array_ops.unpack": "unstack",
    "python.ops.math_ops.mul": "multiply",
    "scalar_summary": "summary.scalar",
    "select": "where",
    "sub": "subtract",
    "train.SummaryWriter": "summary.FileWriter",
    "unpack": "unstack",
}


def successor(path):
    """A half sentence that says what to use for a name below ``tensorflow`` that left in 1.0; None for any other."""
    if path not in RENAMED:
        return None
    return f"`tf.{path}` left TensorFlow in 1.0, and no release 1.x has it: use `tf.{RENAMED[path]}`"
