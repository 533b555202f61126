"""What ``tf.contrib.rnn`` had besides `tf.nn.rnn_cell`: rarer cells and layers of them, as in TF 1.15.5."""

import tensorflow

from .. import module

tf = tensorflow.compat.v1
RNNCell, LSTMStateTuple = module("rnn").RNNCell, module("rnn").LSTMStateTuple


class NASCell(RNNCell):
    """The cell of Zoph and Le, "Neural Architecture Search with Reinforcement Learning", 2017.

    Args:
      num_units: the size of the state.
      num_proj: None, or the size that the output is projected to.
      use_bias: whether a bias is added to what comes of the last output.
      reuse: whether variables of the scope are used again.
      **kwargs: arguments of a layer, such as name and dtype.
    """

    def __init__(self, num_units, num_proj=None, use_bias=False, reuse=None, **kwargs):
        super().__init__(_reuse=reuse, **kwargs)
        self._num_units, self._num_proj, self._use_bias = num_units, num_proj, use_bias

    @property
    def output_size(self):
        return self._num_units if self._num_proj is None else self._num_proj

    @property
    def state_size(self):
        return LSTMStateTuple(self._num_units, self.output_size)

    def build(self, inputs_shape):
        width = 8 * self._num_units
        self.recurrent_kernel = self.add_variable("recurrent_kernel", [self.output_size, width])
        self.kernel = self.add_variable("kernel", [inputs_shape[-1], width])
        if self._use_bias:
            self.bias = self.add_variable("bias", [width], initializer=tf.zeros_initializer())
        if self._num_proj is not None:
            self.projection_weights = self.add_variable("projection_weights", [self._num_units, self._num_proj])
        self.built = True

    def call(self, inputs, state):
        memory, output = state
        old = tf.matmul(output, self.recurrent_kernel)
        if self._use_bias:
            old = tf.nn.bias_add(old, self.bias)
        old, new = (tf.split(value, 8, axis=1) for value in (old, tf.matmul(inputs, self.kernel)))
        first = tf.tanh(tf.sigmoid(new[0] + old[0]) * tf.nn.relu(new[1] + old[1]))
        second = tf.tanh(tf.sigmoid(new[2] + old[2]) + tf.nn.relu(new[3] * old[3]))
        third = tf.tanh(tf.tanh(new[4] + old[4]) * tf.sigmoid(new[5] + old[5]))
        fourth = tf.sigmoid(tf.tanh(new[6] + old[6]) + tf.sigmoid(new[7] + old[7]))
        memory = tf.tanh(first + memory) * second
        output = tf.tanh(memory * tf.tanh(third + fourth))
        if self._num_proj is not None:
            output = tf.matmul(output, self.projection_weights)
        return output, LSTMStateTuple(memory, output)


class LayerNormBasicLSTMCell(RNNCell):
    """An LSTM cell whose gates and memory are normalised over their units, with dropout of what comes into the memory.

    Args:
      num_units: the size of the state.
      forget_bias: what is added to the forget gate.
      input_size: not used.
      activation: the function of what comes into the memory, and of the output.
      layer_norm: whether there is a normalisation; without it the kernel has a bias.
      norm_gain, norm_shift: the start values of gamma and beta.
      dropout_keep_prob: the share that is kept, a float or a tensor; a float 1 drops nothing.
      dropout_prob_seed: the seed of the dropout.
      reuse: whether variables of the scope are used again.
    """

    def __init__(
        self,
        num_units,
        forget_bias=1.0,
        input_size=None,
        activation=tf.tanh,
        layer_norm=True,
        norm_gain=1.0,
        norm_shift=0.0,
        dropout_keep_prob=1.0,
        dropout_prob_seed=None,
        reuse=None,
    ):
        super().__init__(_reuse=reuse)
        self._num_units, self._forget_bias, self._activation = num_units, forget_bias, activation
        self._layer_norm, self._start = layer_norm, {"gamma": norm_gain, "beta": norm_shift}
        self._keep, self._seed = dropout_keep_prob, dropout_prob_seed

    @property
    def state_size(self):
        return LSTMStateTuple(self._num_units, self._num_units)

    @property
    def output_size(self):
        return self._num_units

    def build(self, inputs_shape):
        width = 4 * self._num_units
        self.kernel = self.add_variable("kernel", [inputs_shape[-1] + self._num_units, width])
        if not self._layer_norm:
            self.bias = self.add_variable("bias", [width])
        self._norms = {
            scope: [
                self.add_variable(f"{scope}/{name}", [self._num_units], initializer=tf.constant_initializer(value))
                for name, value in self._start.items()
            ]
            for scope in ("input", "transform", "forget", "output", "state")[: 5 * bool(self._layer_norm)]
        }
        self.built = True

    def _normalised(self, value, scope):
        if not self._layer_norm:
            return value
        gamma, beta = self._norms[scope]
        mean, variance = tf.nn.moments(value, [1], keep_dims=True)
        return tf.nn.batch_normalization(value, mean, variance, beta, gamma, 1e-12)

    def call(self, inputs, state):
        memory, output = state
        gates = tf.matmul(tf.concat([inputs, output], 1), self.kernel)
        if not self._layer_norm:
            gates = tf.nn.bias_add(gates, self.bias)
        scopes = ("input", "transform", "forget", "output")
        parts = zip(tf.split(gates, 4, axis=1), scopes, strict=True)
        taken, new, kept, given = (self._normalised(part, scope) for part, scope in parts)
        new = self._activation(new)
        if not isinstance(self._keep, float) or self._keep < 1:
            new = tf.nn.dropout(new, self._keep, seed=self._seed)
        memory = memory * tf.sigmoid(kept + self._forget_bias) + tf.sigmoid(taken) * new
        memory = self._normalised(memory, "state")
        output = self._activation(memory) * tf.sigmoid(given)
        return output, LSTMStateTuple(memory, output)


class OutputProjectionWrapper(RNNCell):
    """A cell whose output is projected to `output_size` by a linear layer, and then given to `activation`."""

    def __init__(self, cell, output_size, activation=None, reuse=None):
        super().__init__(_reuse=reuse)
        if output_size < 1:
            raise ValueError(f"`output_size` is {output_size}; it must be greater than 0.")
        self._cell, self._output_size, self._activation = cell, output_size, activation
        self._projection = None

    @property
    def state_size(self):
        return self._cell.state_size

    @property
    def output_size(self):
        return self._output_size

    def zero_state(self, batch_size, dtype):
        return self._cell.zero_state(batch_size, dtype)

    def call(self, inputs, state):
        output, state = self._cell(inputs, state)
        if self._projection is None:
            kernel = tf.get_variable("kernel", [output.shape.as_list()[1], self._output_size], output.dtype)
            bias = tf.get_variable("bias", [self._output_size], output.dtype, tf.zeros_initializer(output.dtype))
            self._projection = kernel, bias
        kernel, bias = self._projection
        projected = tf.nn.bias_add(tf.matmul(output, kernel), bias)
        return self._activation(projected) if self._activation else projected, state


def stack_bidirectional_dynamic_rnn(
    cells_fw,
    cells_bw,
    inputs,
    initial_states_fw=None,
    initial_states_bw=None,
    dtype=None,
    sequence_length=None,
    parallel_iterations=None,
    time_major=False,
    scope=None,
    swap_memory=False,
):
    """Layers of `tf.nn.bidirectional_dynamic_rnn`, each with the outputs of both directions of the one before.

    Args:
      cells_fw: a list of cells that go forwards, one for each layer.
      cells_bw: a list of cells that go backwards.
      inputs: a tensor [batch, time, size], or [time, batch, size] if `time_major`.
      initial_states_fw: None, or a list of states, one for each layer.
      initial_states_bw: the same for the other direction.
      dtype, sequence_length, parallel_iterations, swap_memory: as for `tf.nn.bidirectional_dynamic_rnn`.
      time_major: whether time comes before the batch.
      scope: a name, or a variable scope; "stack_bidirectional_rnn" if None.

    Returns:
      The outputs of the last layer, and two tuples of the last states, of the one direction and of the other.

    Raises:
      ValueError: an argument is not a list, or has another length.
    """
    lists = {"cells_fw": cells_fw, "cells_bw": cells_bw}
    lists |= {"initial_states_fw": initial_states_fw, "initial_states_bw": initial_states_bw}
    for name, given in lists.items():
        if given is None and name.startswith("initial"):
            lists[name] = [None] * len(cells_fw)
        elif not isinstance(given, list) or not given or len(given) != len(cells_fw):
            raise ValueError(f"`{name}` is {given!r}; it must be a list with one item for each layer.")
    states = []
    with tf.variable_scope(scope or "stack_bidirectional_rnn"):
        for number, (forward, backward, state_fw, state_bw) in enumerate(zip(*lists.values(), strict=True)):
            with tf.variable_scope(f"cell_{number}"):
                outputs, last = tf.nn.bidirectional_dynamic_rnn(
                    forward,
                    backward,
                    inputs,
                    sequence_length,
                    state_fw,
                    state_bw,
                    dtype,
                    parallel_iterations,
                    swap_memory,
                    time_major,
                )
                inputs = tf.concat(outputs, 2)
            states.append(last)
    return inputs, *zip(*states, strict=True)
