"""``tf.contrib.training.bucket`` and ``bucket_by_sequence_length`` of TF 1.15: batches of elements of one kind.

Each kind has a queue; a queue that holds a batch passes it on to one queue of batches. Queue runners of the graph fill
them, so `tf.train.start_queue_runners` starts them.
"""

import itertools

import tensorflow as _tf

from ...layers.graph_collections import builds_graph

tf = _tf.compat.v1
_ENDS = tf.errors.OutOfRangeError, tf.errors.CancelledError


@builds_graph
def bucket(
    tensors,
    which_bucket,
    batch_size,
    num_buckets,
    num_threads=1,
    capacity=32,
    bucket_capacities=None,
    shapes=None,
    dynamic_pad=False,
    allow_smaller_final_batch=False,
    keep_input=True,
    shared_name=None,
    name=None,
):
    """Batches of elements that went into the same bucket.

    Args:
      tensors: the tensors of one element, in a list or a dict.
      which_bucket: an int32 tensor without axes, the number of the element's bucket.
      batch_size: an integer, or a list of one for each bucket.
      num_buckets: an integer.
      num_threads: how many threads put elements into buckets.
      capacity: how many batches wait at most, and elements in each bucket that has none in ``bucket_capacities``.
      shapes: the shapes of the tensors of one element; None if they are known.
      dynamic_pad: whether sizes that are not known are filled up with zeros to the largest of a batch.
      allow_smaller_final_batch: whether the last batch of a bucket may be smaller; if not, it is dropped.
      keep_input: a bool, or a tensor of one, that says whether this element goes into a bucket.
      shared_name: a name under which several sessions share the queues.

    Returns:
      The number of a bucket, a tensor, and a batch of it, in a list or a dict as ``tensors``.

    Raises:
      ValueError: there are no tensors or shapes, a tensor is sparse, or a list has not one item for each bucket.
    """
    elements, as_given = _listed(tensors)
    if not elements:
        raise ValueError("Expected at least one tensor in bucket().")
    if any(isinstance(element, tf.SparseTensor) for element in elements):
        raise ValueError("`tensors` holds a sparse tensor; give a dense one, as of `tf.sparse_tensor_to_dense`.")
    sizes = list(batch_size) if isinstance(batch_size, (list, tuple)) else [batch_size] * num_buckets
    capacities = [capacity] * num_buckets if bucket_capacities is None else list(bucket_capacities)
    for argument, values in (("batch_size", sizes), ("bucket_capacities", capacities)):
        if len(values) != num_buckets:
            raise ValueError(f"`{argument}` has {len(values)} items; it must have one for each of {num_buckets}.")
    with tf.name_scope(name, "bucket", elements):
        elements = [tf.convert_to_tensor(element) for element in elements]
        shapes = [tf.TensorShape(shape) for shape in shapes or [element.shape for element in elements]]
        make = tf.PaddingFIFOQueue if dynamic_pad else tf.FIFOQueue
        types = [element.dtype.base_dtype for element in elements]
        queues = [
            make(size, types, shapes, shared_name=shared_name and f"{shared_name}_{i}", name=f"bucket_queue_{i}")
            for i, size in enumerate(capacities)
        ]
        fixed = None if allow_smaller_final_batch or isinstance(batch_size, (list, tuple)) else batch_size
        fixed = _tf.get_static_value(fixed) if tf.is_tensor(fixed) else fixed
        top = tf.PaddingFIFOQueue(
            capacity,
            [tf.int32, *types],
            [tf.TensorShape([]), *(tf.TensorShape([fixed]).concatenate(shape) for shape in shapes)],
            shared_name=shared_name,
            name="top_queue",
        )
        into = _into_buckets(queues, elements, tf.convert_to_tensor(which_bucket, tf.int32), keep_input)
        onward = [_onward(top, queue, i, sizes[i], allow_smaller_final_batch) for i, queue in enumerate(queues)]
        _run(queues[0], onward, [top])
        _run(top, [into] * num_threads, queues)
        _summarize(top, queues, capacity)
        which, *batch = top.dequeue(name="dequeue_top")
    return which, as_given(batch)


def _listed(tensors):
    """The tensors of a list or a dict as a list, and a function that makes what ``tensors`` is of as many others."""
    if isinstance(tensors, dict):
        return list(tensors.values()), lambda others: dict(zip(tensors, others, strict=True))
    return list(tensors), list


def _into_buckets(queues, elements, which, keep):
    """The operation that puts an element into its bucket, or nowhere."""

    def put():
        into = [
            tf.cond(tf.equal(which, i), lambda queue=queue: queue.enqueue(elements), tf.no_op)
            for i, queue in enumerate(queues)
        ]
        return tf.group(*into, name="group_enqueues")

    if tf.is_tensor(keep):
        return tf.cond(keep, put, tf.no_op)
    return put() if keep else tf.no_op()


def _onward(top, queue, number, size, smaller):
    """The operation that passes a batch on to the queue of batches."""
    take = queue.dequeue_up_to if smaller else queue.dequeue_many
    batch = take(size, name=f"read_bucket_{number}")
    batch = batch if isinstance(batch, (list, tuple)) else [batch]
    return top.enqueue([tf.constant(number), *batch], name=f"enqueue_from_bucket_{number}")


def _run(queue, operations, fed):
    """Give the graph a queue runner, at the end of which the queues that it feeds are closed."""

    def closed(cancel):
        return tf.group(*(each.close(cancel_pending_enqueues=cancel) for each in fed))

    runner = tf.train.QueueRunner(queue, operations, closed(False), closed(True), queue_closed_exception_types=_ENDS)
    tf.train.add_queue_runner(runner)


def _summarize(top, queues, capacity):
    waiting = tf.cast(top.size(), tf.float32)
    # 1.15 too gives each bucket the size of the queue of batches.
    for queue in queues:
        tf.summary.scalar(f"bucket/{queue.name}/size", waiting)
    tf.summary.scalar(f"bucket/{top.name}/fraction_of_{capacity}_full", waiting * (1.0 / capacity))


@builds_graph
def bucket_by_sequence_length(
    input_length,
    tensors,
    batch_size,
    bucket_boundaries,
    num_threads=1,
    capacity=32,
    bucket_capacities=None,
    shapes=None,
    dynamic_pad=False,
    allow_smaller_final_batch=False,
    keep_input=True,
    shared_name=None,
    name=None,
):
    """Batches of sequences of about the same length.

    Args:
      input_length: an int32 tensor without axes, the length of a sequence.
      bucket_boundaries: a list of increasing integers; a bucket has the lengths from one to below the next, the first
        those below all and the last those from the largest on.
      The others are those of `bucket`.

    Returns:
      The lengths of the sequences of a batch [batch], and the batch, in a list or a dict as ``tensors``; a list of one
      gives its tensor alone.

    Raises:
      TypeError, ValueError: the boundaries are no list of increasing integers, or as in `bucket`.
    """
    bounds = bucket_boundaries
    if not isinstance(bounds, (list, tuple)):
        raise TypeError(f"bucket_boundaries must be a list or tuple, but received: {bounds}")
    if not bounds:
        raise ValueError("bucket_boundaries must not be empty")
    if not all(isinstance(bound, int) for bound in bounds):
        raise TypeError(f"`bucket_boundaries` is {bounds!r}; it must hold integers.")
    if any(low >= high for low, high in itertools.pairwise(bounds)):
        raise ValueError(f"`bucket_boundaries` is {bounds!r}; each must be greater than the one before.")
    elements, as_given = _listed(tensors)
    with tf.name_scope(name, "bucket_by_sequence_length", [input_length, *elements]):
        length = tf.convert_to_tensor(input_length, tf.int32, name="input_length")
        _, (lengths, *batch) = bucket(
            [length, *elements],
            tf.reduce_sum(tf.cast(tf.greater_equal(length, list(bounds)), tf.int32)),
            batch_size,
            len(bounds) + 1,
            num_threads,
            capacity,
            bucket_capacities,
            None if shapes is None else [tf.TensorShape([]), *shapes],
            dynamic_pad,
            allow_smaller_final_batch,
            keep_input,
            shared_name,
        )
    return lengths, as_given(batch)
