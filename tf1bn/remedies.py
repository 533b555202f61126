"""What to do about each cause, in one to three lines, by framework where frameworks differ."""

# By cause the text for every framework, or by framework: "" is what holds where none is known or has a text of its own.
# "tensorflow1" is TF 1.x, as a layer says that declares its release. "CAUSE/VARIANT" is for a cause that shows in
# several ways, each of which asks for something else.
REMEDIES = {
    "frozen": {
        "": "Use a decay below 1 in training; to freeze a trained layer on purpose, run it in inference mode.",
        "torch": "Use a momentum above 0 (it is 1 - decay); to freeze the module on purpose, call `eval()` on it.",
    },
    "trainable-false": "Nothing, if the layer is to be frozen. Else make it trainable; in a port remember that Keras's "
    "`trainable = False` also changes the mode and that of TF 1.x's contrib layer does not.",
    "frozen-but-moves": {
        "": "Run the layer in inference mode where its statistics are to stay as they are.",
        "tensorflow1": "Pass `is_training=False` where the statistics are to stay; `trainable=False` keeps only gamma "
        "and beta.",
        "torch": "Call `eval()` on the module after every `model.train()`; `requires_grad = False` keeps only weight "
        "and bias.",
        "keras": "Set `layer.trainable = False` before the model is compiled or the call is traced, or call the layer "
        "with training=False.",
    },
    "untrained-steps": {
        "": "Run the updates of a network only in the steps that train it. Where k batches are accumulated to one "
        "step of the optimizer, the statistics forget by d^k in it: the k-th root of the decay makes up for that.",
        "tensorflow1": "Take `tf.get_collection(tf.GraphKeys.UPDATE_OPS, scope)` of the network that a train op "
        "trains, and not those of both. Where k batches are accumulated, the k-th root of the decay forgets as one "
        "update does.",
        "torch": "Call `eval()` on the network that a step does not train. Where k batches are accumulated, take "
        "1 - (1 - momentum)^(1/k) for the momentum.",
        "keras": "Call the network that a step does not train with training=False. Where k batches are accumulated, "
        "the k-th root of the momentum forgets as one update does.",
    },
    "untrained-steps/apart": "Nothing, if these calls are fed training data; run with the training operation, the "
    "updates need no forward pass of their own.",
    "training-flag-off": {
        "": "Run the layer in training mode while it is trained, unless its statistics are frozen on purpose.",
        "tensorflow1": "Pass `training=True` (contrib: `is_training=True`) or feed the placeholder in training: "
        "`tf.layers.batch_normalization` has training=False by default.",
        "torch": "Call `model.train()` before training, and again after each evaluation; a copy that averages "
        "parameters needs the buffers too (`use_buffers=True`).",
        "keras": "Call the model with `training=True` in your own training loop; the default is training=False.",
        "flax": "Call the module with use_running_average=False in training (nnx: `model.train()`).",
    },
    "half-precision": "Keep the moving statistics in float32, also with float16 inputs (TF 1.5 and later, Keras's "
    "mixed policies and PyTorch's autocast do).",
    "not-restored": {
        "": "Save and restore the moving statistics with gamma and beta; if no checkpoint has them, recompute them "
        "from training data (`tf1bn recalibrate`).",
        "tensorflow1": "Give `tf.train.Saver` `tf.global_variables()`, not `tf.trainable_variables()`, and do not "
        "restore with ignore_missing_vars; if no checkpoint has the statistics, recompute them from training data "
        "(`tf1bn recalibrate`).",
        "torch": "Load the whole state_dict with strict=True; a copy that averages parameters needs the buffers too "
        "(`use_buffers=True`, or `torch.optim.swa_utils.update_bn`).",
        "keras": "Load all weights (`load_weights` without by_name or skip_mismatch); a copy needs `get_weights()`, "
        "not the trainable ones alone.",
    },
    "not-updated": {
        "": "Run the layer's updates with each training step; then train on, or recompute the statistics from data "
        "(`tf1bn.recalibrate`).",
        "tensorflow1": "Run `tf.get_collection(tf.GraphKeys.UPDATE_OPS)` with the training operation, or pass "
        "updates_collections=None; a `tf.keras` layer keeps its updates in `layer.updates`. Then train on.",
        "torch": "Look at `num_batches_tracked`: where it stands still, `track_running_stats` was set to False; where "
        "it counts, the momentum is 0. Correct that, then train on, or recompute the buffers from training data "
        "(`tf1bn.recalibrate`).",
        "keras": "Call the layer with `training=True` in the training step, inside of the function that is run.",
        "flax": "Give the `batch_stats` that `apply(..., mutable=['batch_stats'])` returns to the next step, and save "
        "them with the params.",
    },
    "not-updated/withheld": "Nothing, where these passes are to leave the statistics alone; if they train the layer on "
    "its data, let them update the statistics.",
    "empty-batch": "Do not run the layer on empty batches (a filter that leaves nothing, a tower without data), and "
    "restore the statistics from before.",
    "single-value": "Drop the last, incomplete batch of an epoch in training (drop_remainder, drop_last), and restore "
    "a moving variance that became NaN.",
    "single-value/all": "Train with more than one value per channel in a batch, or use a norm that does not depend on "
    "the batch: this layer's outputs in training are beta, whatever its inputs.",
    "renorm": "Either pass `renorm` as it is declared, or correct the declaration; a port needs the same, and the "
    "further variables in its checkpoint.",
    "zero-debias": "Either pass `zero_debias_moving_mean` as it is declared, or correct the declaration "
    "(`assign_moving_average` debiases by default); a port needs the same, and the variables `biased` and "
    "`local_step` in its checkpoint.",
    "zero-debias/both": "Nothing in inference; a port that trains on has to do it to both, and needs `biased` and "
    "`local_step` of both.",
    "bessel": {
        "": "Use a layer that averages the population variance, or multiply what is averaged by (N-1)/N; if it must "
        "stay, accept it with --accept bessel.",
        "tensorflow1": "Pass `fused=False`: from 1.4 on the default is the fused layer, which takes N/(N-1).",
        "torch": "PyTorch always takes N/(N-1); docs/other-frameworks.md has a layer that averages as TF 1.x does. "
        "Or accept it with --accept bessel.",
    },
    "no-bessel": {
        "": "Use a layer that averages N/(N-1) times the variance, or put the factor in; if it must stay, accept it "
        "with --accept no-bessel.",
        "tensorflow1": "Pass `fused=True`: up to 1.3 the default is the composed layer, which takes no N/(N-1).",
        "keras": "Keras 3 never takes N/(N-1); docs/other-frameworks.md has a layer that averages as the fused one "
        "does. Or accept it with --accept no-bessel.",
    },
    "keras-bessel": "Decide whether the port must repeat N/(N-1-epsilon); the difference is small for all but tiny N.",
    "float32-decay": "Nothing; set `rate_dtype` in the trace if the declaration is to say it.",
    "momentum-flipped": {
        "": "PyTorch's momentum is 1 - decay; Keras's momentum, Flax's and TF's are the decay.",
        "torch": "Set momentum = 1 - decay: TF's decay .99 is momentum .01.",
        "keras": "Set momentum = decay: PyTorch's momentum .1 is .9 here.",
    },
    "no-memory": {
        "": "Use a decay near 1, unless inference on the last batch's statistics is wanted.",
        "torch": "Use a momentum near 0 (the default is .1), unless inference on the last batch is wanted.",
    },
    "no-memory/count": "Load `num_batches_tracked` with the statistics (the whole state_dict with strict=True), or set "
    "it to the number of batches that they average. If they were to be averaged anew, nothing.",
    "one-tower-only": "Run the updates of all towers, or average their moments first; if one tower is wanted, a port "
    "has to do the same.",
    "one-tower-only/repeated": "Nothing where activations are computed again for the gradients (`tf.recompute_grad`, "
    "activation checkpointing). If the applications were to get different batches, look at what feeds them.",
    "replica": {
        "": "Choose how the replicas' batches come into the statistics: the mean over replicas, all of them as one "
        "batch (a synchronized layer), or one replica's. If the run is right, correct `reduction` in the trace; a port "
        "has to do what its original does.",
        "torch": "`torch.nn.SyncBatchNorm.convert_sync_batchnorm` takes all batches as one; else each process keeps "
        "its own statistics, and those of process 0 are saved.",
        "keras": "`synchronized=True` takes all batches as one; else each replica updates by its own batch, and "
        "MirroredStrategy takes the mean.",
    },
    "double-update": {
        "": "Update once per step, from one application or from the merged batch. If the model that you port updates "
        "several times, let the port do so too, in a fixed order.",
        "tensorflow1": "Collect UPDATE_OPS of one tower, or run the updates one after the other with "
        "control_dependencies: TensorFlow gives them no order. A port has to repeat what stays.",
    },
    "wrong-axis": "Set `data_format` or `axis` to where the channels are; in a conversion do not transpose them.",
    "padding-counted": "Pass the weights or the mask to the layer (`batch_weights`, `mask`), or leave padding out.",
    "bessel/values": "Convert the moving variance as it is, without the factor: what is stored is the average.",
    "no-bessel/values": "Convert the moving variance as it is, without the factor: what is stored is the average.",
    "std-for-variance": "Square the deviation in the conversion (and take the reciprocal where that is stored).",
    "cumulative-average": {
        "": "Use a constant decay if the original does; all batches alike is right for a last pass over the data.",
        "torch": "Give `momentum` a number: None averages all batches alike (num_batches_tracked counts them).",
    },
    "decay": {
        "": "Pass the decay explicitly. By default it is 0.999 in contrib, 0.99 in tf.layers and Keras (there called "
        "momentum), and 0.9 in PyTorch (momentum=0.1, which is 1 - decay).",
        "torch": "Pass `momentum` explicitly: it is 1 - decay, and 0.1 by default.",
        "keras": "Pass `momentum` explicitly: it is the decay, and 0.99 by default. One that is changed after the "
        "model was compiled and called takes effect when it is compiled again.",
    },
    "decay/some": "Look for what changes the decay in these steps: a schedule, or a second layer or writer of these "
    "variables.",
    "decay/parts": "Take the k-th root of the decay, where a batch comes in k parts (in PyTorch a momentum of "
    "1 - (1 - momentum)^(1/k)), or give the layer the whole batch.",
    "cancellation": "Use a layer that subtracts the mean first, or centre the inputs before the layer.",
    "validation-leak": {
        "": "Run the updates only in the steps that train, and not with what evaluation fetches or calls.",
        "tensorflow1": "Leave the update operations out of what evaluation fetches: let only the train op depend on "
        "UPDATE_OPS.",
        "torch": "Call `model.eval()` before evaluation; `torch.no_grad()` does not stop the buffers.",
        "keras": "Evaluate with `training=False`.",
    },
    "validation-leak/both-modes": "Call the layer once, with the placeholder for `is_training`; or make both calls "
    "inside of the functions that tf.cond takes.",
    "batch-stats-at-inference": {
        "": "Run inference in inference mode.",
        "tensorflow1": "Pass `is_training=False`; look whether the placeholder is fed and the export was made with it.",
        "torch": "Call `model.eval()` before inference; with track_running_stats=False there is no inference mode.",
        "keras": "Call the model with `training=False`, or use `predict`.",
    },
    "gamma-beta-swapped": "Exchange the two (gamma scales, beta shifts), and scale before you shift.",
    "epsilon-floor": "Use 1.001e-5 in a port, or `fused=False` if the smaller one is wanted.",
    "epsilon-outside-root": "Add epsilon to the variance before the root is taken; a model that was trained otherwise "
    "has to keep its formula, or be trained on.",
    "std-in-output": "Divide by sqrt(variance + epsilon); if a standard deviation is what is stored, square it first.",
    "std-in-output/reciprocal": "Divide by sqrt(variance + epsilon), or multiply by its reciprocal (`rsqrt`).",
    "std-in-output/unrooted": "Divide by the root of variance + epsilon.",
    "std-in-output/corrected": "Normalise by the population variance, in PyTorch `x.var(..., unbiased=False)`.",
    "epsilon/added": "Leave epsilon out of the moving variance in the conversion; the layer adds it.",
    "epsilon": "Pass epsilon explicitly: TF's default is 1e-3, PyTorch's 1e-5.",
    "epsilon/large": {
        "": "Nothing, if it is meant; else pass momentum or decay by name, and leave epsilon at its default.",
        "torch": "Nothing, if it is meant; else pass `momentum=` by name (PyTorch's is 1 - decay): the second argument "
        "of `BatchNorm2d` is eps.",
    },
    "not-finite": "Go to the first step with it; lower the learning rate or leave such inputs out. A moving average "
    "never recovers from NaN: restore it.",
    "bad-variance": "Restore it, or recompute it from data (`tf1bn.recalibrate`). Negative values come from a "
    "conversion that mixed up arrays, or from several updates in parallel; where all are 0, set it to 1 before you "
    "train on.",
    "bad-variance/before": "It came in with what was restored: look at the conversion for arrays in another order. "
    "Then convert anew, or recompute the variance from data (`tf1bn.recalibrate`).",
    "dead-channel": "Often nothing. If most channels are dead, look at what lies before the layer.",
    "unexplained/values": "Look at how both files were made: another step or another run of the training, averages of "
    "the weights, a conversion that computes with the numbers; `--ulp N` allows for roundings of one.",
    "unexplained": "Look at the first step that is named: something else may write the variables, the layer may be "
    "another formula, or several things are wrong at once.",
    "changed-between-steps/start": {
        "": "Look for what initializes the variables in the middle of the run.",
        "tensorflow1": "Look for an initializer that runs in the loop (`tf.global_variables_initializer()`, a new "
        "session).",
        "torch": "Look for `reset_running_stats()`, `reset_parameters()`, or a module that is made anew, in the loop.",
        "keras": "Look for a layer or model that is made anew in the loop.",
    },
    "changed-between-steps/back": "Look for a restore in the loop: a checkpoint, loaded weights, or a copy that is "
    "swapped in.",
    "changed-between-steps/other": "Record every run of the layer, or find what else writes its statistics: a restore, "
    "an average of weights, a synchronisation between processes.",
    "changed-between-steps": {
        "": "Record every run of the layer, or stop what runs it in between: recomputation or a second call.",
        "tensorflow1": "Record every session.run that runs the layer, or stop what updates it in between.",
        "torch": "With activation checkpointing keep batch norms out of the checkpointed part, or set momentum to "
        "1 - sqrt(1 - momentum), since each batch counts twice; else record every forward pass.",
    },
    "statistics-do-not-fit": {
        "": "Recompute the statistics from training data with `tf1bn.recalibrate`, which trains no weights.",
        "torch": "Run `tf1bn.recalibrate(model, loader)`, or average the buffers with the parameters.",
    },
    "cold-start": "Train longer before you evaluate (the report says how long), use a smaller decay, or recompute the "
    "statistics from training data with `tf1bn.recalibrate`.",
    "rounding": "Nothing.",
    "missing-variable": "Save all variables that the layer has; give parity --map if only names differ.",
    "shadow-average": "Decide whether evaluation takes the variables or their averages, and restore one kind for all.",
    "negated": "Correct the sign in the conversion; some formats store the negative mean, to be added.",
    "folded": "Nothing for inference; if it is a finding, fold anew with the model's epsilon. To train on, keep the "
    "checkpoint with the statistics.",
    "folded-bias": "Keep either the bias and the mean with it, or neither; not one of each.",
    "other-step": "Compare the checkpoints of the same step.",
    "renumbered": "Sort names by their numbers where layers are assigned by order; nothing if they are loaded by name.",
    "renamed": "Give --map FILE, and rename in the conversion.",
    "swapped-layers": "Exchange the two layers in the conversion, or correct the map.",
    "other-inputs": "Compare what lies between the last layer that agrees and this one: padding, a resize, a kernel.",
    "other-parameters": "Copy the weights before you record; a comparison of training needs the same start.",
    "unmatched": "Give --map FILE; null stands for a layer that has no counterpart.",
}
GENERAL = "Look at the cause's entry in docs/causes.md."


def remedy(cause, framework=None, release=None, variant=None):
    """What to do about a cause, in one to three lines.

    Args:
      cause: its id.
      framework: "torch", "keras", "tensorflow" or None.
      release: the release of TensorFlow 1.x that the layer declares, or None.
      variant: which of several ways the cause shows in, a key of `REMEDIES` with it; None for none of them.
    """
    texts = REMEDIES.get(cause, GENERAL) if variant is None else REMEDIES[f"{cause}/{variant}"]
    if isinstance(texts, str):
        return texts
    return texts.get("tensorflow1" if release is not None else framework) or texts[""]
