"""The names of ``tf.contrib`` that are lent from the package tf_slim, or that TensorFlow has elsewhere today."""

# Layers and what trains them that are lent from tf_slim.
LENT_LAYERS = dict.fromkeys(
    [
        "avg_pool3d",
        "conv1d",
        "conv2d_in_plane",
        "conv3d",
        "conv3d_transpose",
        "convolution",
        "convolution1d",
        "convolution2d_in_plane",
        "convolution3d",
        "convolution3d_transpose",
        "dense_to_sparse",
        "gdn",
        "GDN",
        "group_norm",
        "images_to_sequence",
        "instance_norm",
        "layer_norm",
        "max_pool3d",
        "maxout",
        "optimize_loss",
        "OPTIMIZER_CLS_NAMES",
        "OPTIMIZER_SUMMARIES",
        "adaptive_clipping_fn",
        "pool",
        "scale_gradient",
        "sequence_to_images",
        "spatial_softmax",
        "summarize_activation",
        "summarize_activations",
        "summarize_collection",
        "summarize_tensor",
        "summarize_tensors",
        "unit_norm",
    ],
    "tf_slim.layers",
)
# Modules of `tf.contrib.slim` that are lent from tf_slim, and those of them that slim also has under a shorter name.
DATA_MODULES = [
    "data_decoder",
    "data_provider",
    "dataset",
    "dataset_data_provider",
    "parallel_reader",
    "prefetch_queue",
    "tfexample_decoder",
]
LENT_MODULES = ["evaluation", "learning", "losses", "metrics", "model_analyzer", "queues", "summaries", "data", "nets"]
LENT_MODULES += [f"data.{name}" for name in DATA_MODULES]
LENT_MODULES += [
    f"nets.{name}"
    for name in (
        "alexnet",
        "inception",
        "inception_v1",
        "inception_v2",
        "inception_v3",
        "overfeat",
        "resnet_utils",
        "resnet_v1",
        "resnet_v2",
        "vgg",
    )
]
RNN = {
    name: f"tf.nn.rnn_cell.{name}"
    for name in (
        "BasicLSTMCell",
        "BasicRNNCell",
        "DeviceWrapper",
        "DropoutWrapper",
        "GRUCell",
        "LSTMCell",
        "LSTMStateTuple",
        "MultiRNNCell",
        "RNNCell",
        "ResidualWrapper",
    )
}
RNN |= {name: f"tf.nn.{name}" for name in ("static_rnn", "static_bidirectional_rnn", "static_state_saving_rnn")}
DATASETS = {name: f"tf.data.{name}" for name in ("Dataset", "Iterator", "FixedLengthRecordDataset", "TFRecordDataset")}
DATASETS |= {"TextLineDataset": "tf.data.TextLineDataset"}
DATASETS |= {
    name: f"tf.data.experimental.{name}"
    for name in (
        "AUTOTUNE",
        "bucket_by_sequence_length",
        "copy_to_device",
        "dense_to_sparse_batch",
        "enumerate_dataset",
        "group_by_reducer",
        "group_by_window",
        "ignore_errors",
        "make_csv_dataset",
        "make_saveable_from_iterator",
        "map_and_batch",
        "parallel_interleave",
        "prefetch_to_device",
        "rejection_resample",
        "scan",
        "shuffle_and_repeat",
        "unbatch",
        "unique",
    )
}
TRAINING = dict.fromkeys(
    [
        "add_gradients_summaries",
        "clip_gradient_norms",
        "clip_gradient_norms_fn",
        "create_train_op",
        "multiply_gradients",
        "train",
    ],
    "tf_slim.training.training",
)
TRAINING |= dict.fromkeys(
    [
        "StopAfterNEvalsHook",
        "SummaryAtEndHook",
        "checkpoints_iterator",
        "evaluate_once",
        "evaluate_repeatedly",
        "get_or_create_eval_step",
        "wait_for_new_checkpoint",
    ],
    "tf_slim.training.evaluation",
)
