"""Recording the original of a port: a TF1-style graph that is built and run here."""

from __future__ import annotations


def record_original(original, batches, flags, variables, load, path):
    """Build the original in a graph of its own, run it on every batch, and write its trace.

    Args:
      original, variables, load: as for `assert_parity`.
      batches: list of arrays.
      flags: list of bool, whether each batch trains.
      path: the folder of the trace, which is overwritten.

    Returns:
      list of the output for every batch.
    """
    import tensorflow as tf

    from ..recorders.session import Recorder

    v1 = tf.compat.v1
    with v1.Graph().as_default() as graph:
        x = v1.placeholder(batches[0].dtype, [None, *batches[0].shape[1:]], name="batch")
        flag = v1.placeholder(v1.bool, [], name="is_training")
        output = original(x, flag)
        if not isinstance(output, v1.Tensor):
            raise TypeError(f"`original` returned {type(output).__name__}; it must return the output tensor.")
        updates = graph.get_collection(v1.GraphKeys.UPDATE_OPS)
        by_name = {variable.op.name: variable for variable in v1.global_variables()}
        for name in variables or {}:
            if name not in by_name:
                raise ValueError(
                    f"`variables` has {name!r}, which the original does not have; it has {', '.join(by_name)}."
                )
        with v1.Session(graph=graph) as session:
            session.run(v1.global_variables_initializer())
            for name, value in (variables or {}).items():
                by_name[name].load(value, session)
            values = None if load is None else session.run(by_name)
            with Recorder(session, path, overwrite=True) as recorder:
                outputs = [
                    recorder.run([output, updates if trains else []], {x: batch, flag: trains})[0]
                    for batch, trains in zip(batches, flags, strict=True)
                ]
    if load is not None:
        # Outside of the original's graph, in which a port of Keras could not assign its variables.
        load(values)
    return outputs
