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
        "legacy_fully_connected",
        "legacy_linear",
        "legacy_relu",
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
LENT_LAYERS |= dict.fromkeys(["RevBlock", "recompute_grad", "rev_block"], "tf_slim.layers.rev_block_lib")
LENT_LAYERS |= {"safe_embedding_lookup_sparse": "tf.nn.safe_embedding_lookup_sparse"}
LENT_LAYERS |= {"embed_sequence": "contrib._other.sequences"}
# What `tf.contrib.framework` had besides variables and scopes.
CHECKS = dict.fromkeys(
    [
        "assert_scalar_int",
        "get_placeholders",
        "reduce_sum_n",
        "remove_squeezable_dimensions",
        "smart_cond",
        "smart_constant_value",
        "with_same_shape",
        "with_shape",
    ],
    "contrib._other.shapes",
)
CHECKS |= {name: f"tf.debugging.{name}" for name in ("assert_same_float_dtype", "assert_scalar")}
CHECKS |= {name: f"tf.{name}" for name in ("TensorSpec", "argsort", "py_func", "sort")}
CHECKS |= {"convert_to_tensor_or_sparse_tensor": "tf.convert_to_tensor_or_sparse_tensor"}
CHECKS |= dict.fromkeys(("get_graph_from_inputs", "get_name_scope"), "tf_slim.ops.framework_ops")
# Modules of TensorFlow that scripts reach through `slim`, by the module of `tf` that has their names today.
SLIM_MODULES = dict.fromkeys(
    [
        "array_ops",
        "control_flow_ops",
        "init_ops",
        "math_ops",
        "nn_ops",
        "ops",
        "random_ops",
        "variable_scope",
        "vs",
    ],
    "tf",
)
SLIM_MODULES |= {"nn": "tf.nn", "summary": "tf.summary", "tensor_shape": "tf"}
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
# These stand on the cells of `tf.nn.rnn_cell`.
CELLS = "contrib._other.cells"
RNN |= dict.fromkeys(
    ("LayerNormBasicLSTMCell", "NASCell", "OutputProjectionWrapper", "stack_bidirectional_dynamic_rnn"), CELLS
)
RNN |= {name: f"tf.nn.{name}" for name in ("static_rnn", "static_bidirectional_rnn", "static_state_saving_rnn")}
DATASETS = {name: f"tf.data.{name}" for name in ("Dataset", "Iterator", "FixedLengthRecordDataset", "TFRecordDataset")}
DATASETS |= {"TextLineDataset": "tf.data.TextLineDataset"}
DATASETS |= {
    name: f"tf.data.experimental.{name}"
    for name in (
        "AUTOTUNE",
        "Counter",
        "CsvDataset",
        "Optional",
        "RandomDataset",
        "SqlDataset",
        "bucket_by_sequence_length",
        "choose_from_datasets",
        "copy_to_device",
        "dense_to_sparse_batch",
        "enumerate_dataset",
        "get_single_element",
        "group_by_reducer",
        "group_by_window",
        "ignore_errors",
        "make_batched_features_dataset",
        "make_csv_dataset",
        "make_saveable_from_iterator",
        "map_and_batch",
        "parallel_interleave",
        "parse_example_dataset",
        "prefetch_to_device",
        "rejection_resample",
        "sample_from_datasets",
        "scan",
        "shuffle_and_repeat",
        "unbatch",
        "unique",
    )
}
DATASETS |= dict.fromkeys(
    ("batch_and_drop_remainder", "padded_batch_and_drop_remainder", "sloppy_interleave"), "contrib._other.sequences"
)
SIGNAL = {
    name: f"tf.signal.{name}"
    for name in (
        "frame",
        "hamming_window",
        "hann_window",
        "inverse_stft",
        "inverse_stft_window_fn",
        "linear_to_mel_weight_matrix",
        "mfccs_from_log_mel_spectrograms",
        "overlap_and_add",
        "stft",
    )
}
WINDOWS = {name: SIGNAL[name] for name in ("hamming_window", "hann_window")}
CRF = dict.fromkeys(
    [
        "crf_binary_score",
        "crf_decode",
        "crf_log_likelihood",
        "crf_log_norm",
        "crf_multitag_sequence_score",
        "crf_sequence_score",
        "crf_unary_score",
        "viterbi_decode",
    ],
    "contrib._other.crf",
)
LEGACY_SEQ2SEQ = dict.fromkeys(
    ("rnn_decoder", "sequence_loss", "sequence_loss_by_example"), "contrib._other.legacy_seq2seq"
)
VOCABULARY = dict.fromkeys(("VocabularyProcessor", "CategoricalVocabulary", "tokenizer"), "contrib._other.learn")
NEST = {name: f"tf.nest.{name}" for name in ("assert_same_structure", "flatten", "map_structure", "pack_sequence_as")}
NEST |= {"is_sequence": "tf.nest.is_nested"}
DISTRIBUTIONS = {
    name: f"tf.distributions.{name}"
    for name in (
        "Bernoulli",
        "Beta",
        "Categorical",
        "Dirichlet",
        "DirichletMultinomial",
        "Distribution",
        "Exponential",
        "FULLY_REPARAMETERIZED",
        "Gamma",
        "Laplace",
        "Multinomial",
        "NOT_REPARAMETERIZED",
        "Normal",
        "RegisterKL",
        "ReparameterizationType",
        "StudentT",
        "Uniform",
        "kl_divergence",
    )
}
KERAS = {
    name: f"tf.keras.{name}"
    for name in (
        "activations",
        "applications",
        "backend",
        "callbacks",
        "constraints",
        "datasets",
        "initializers",
        "layers",
        "losses",
        "metrics",
        "models",
        "optimizers",
        "preprocessing",
        "regularizers",
        "utils",
    )
}
MNIST = dict.fromkeys(("DataSet", "Datasets", "load_mnist", "read_data_sets"), "contrib._other.mnist")
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
TRAINING |= dict.fromkeys(("HParams", "parse_values"), "contrib._other.hparams")
TRAINING |= dict.fromkeys(("bucket", "bucket_by_sequence_length"), "contrib._other.buckets")
