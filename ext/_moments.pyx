"""Batch moments and their merge, in float64 and without the GIL.

Nothing here knows TensorFlow or NumPy: batches arrive through the buffer protocol, results leave in
float64 buffers of the caller. `tf1bn.checker.moments` documents the results and checks every argument.

A state is a float64 array [4, channels]: mean and its low-order word, then the population variance and
its low-order word.

How a batch is read, in `moments_chunks.pxd`: a chunk at a time, small enough for a cache, so that memory is passed
over once. Of a chunk, the sums and the sums of squares about a shift per channel are taken;
where the shift turns out not to suit the data, they are taken again about a better one, from the cache. The
kernels say what suits.
"""

from cpython.buffer cimport PyBUF_FORMAT, PyBUF_ND, PyBUF_RECORDS_RO, PyBuffer_Release, PyObject_GetBuffer
from cpython.pythread cimport (
    WAIT_LOCK,
    PyThread_acquire_lock,
    PyThread_allocate_lock,
    PyThread_free_lock,
    PyThread_release_lock,
    PyThread_type_lock,
)
from libc.stdint cimport uint16_t, uintptr_t
from libc.stdlib cimport free, malloc, realloc

from moments_chunks cimport (
    BFLOAT16,
    CHUNK,
    FLOAT16,
    FLOAT32,
    FLOAT64,
    MAX_LANES,
    MAX_VARIANTS,
    SPREAD,
    WEIGHT_FLOAT32,
    WEIGHT_FLOAT64,
    Kernels,
    Pair,
    Scratch,
    Weights,
    accumulate,
    find_kernels,
)
from moments_walk cimport GATHERED, MAX_AXES, ROWS, Walk, plan

import sys

cdef extern from "<fenv.h>" nogil:
    ctypedef struct fenv_t:
        pass
    const fenv_t *FE_DFL_ENV
    int fegetenv(fenv_t *)
    int fesetenv(const fenv_t *)

cdef extern from *:
    const char *TF1BN_VERSION
    const char *TF1BN_SOURCE_HASH

version = TF1BN_VERSION.decode("ascii")
source_hash = TF1BN_SOURCE_HASH.decode("ascii")

cdef bint BIG_ENDIAN = sys.byteorder == "big"

# Written once, at import; the fastest first.
cdef const Kernels *KERNELS[MAX_VARIANTS]
cdef int KERNEL_COUNT = find_kernels(KERNELS)
variants = tuple([KERNELS[i].name.decode("ascii") for i in range(KERNEL_COUNT)])


cdef const Kernels *find_variant(variant) except NULL:
    if variant is None:
        return KERNELS[0]
    if variant not in variants:
        raise ValueError(f"This machine has no variant {variant!r}; it has {', '.join(variants)}.")
    return KERNELS[<Py_ssize_t> variants.index(variant)]


cdef int allocate(Scratch *scratch, Py_ssize_t channels, bint tile, bint weights) except -1:
    cdef double *memory = <double *> malloc(
        (channels + 11 * MAX_LANES + 15 + (3 * SPREAD if weights else 0)) * sizeof(double) + (CHUNK if tile else 0))
    if memory == NULL:
        raise MemoryError()
    scratch.memory = memory
    # Aligned to cache lines.
    scratch.state = <double *> ((<uintptr_t> memory + 63) // 64 * 64)
    scratch.sum = scratch.state + 4 * MAX_LANES
    scratch.square = scratch.sum + MAX_LANES
    scratch.lane_sum = scratch.square + MAX_LANES
    scratch.lane_square = scratch.lane_sum + MAX_LANES
    scratch.lane_shift = scratch.lane_square + MAX_LANES
    scratch.part = scratch.lane_shift + MAX_LANES
    scratch.shift = scratch.part + 2 * MAX_LANES
    scratch.weights = scratch.shift + (channels + 7) // 8 * 8
    scratch.spread = scratch.weights + SPREAD
    scratch.ends = <Py_ssize_t *> (scratch.spread + SPREAD)
    scratch.tile = <char *> (scratch.weights + (3 * SPREAD if weights else 0))
    return 0


cdef class DefaultEnvironment:
    """A context with the default rounding and with denormals, whatever others have set on this thread.

    Threads that are started in it inherit it, as POSIX says.
    """

    cdef fenv_t saved

    def __enter__(self):
        fegetenv(&self.saved)
        fesetenv(FE_DFL_ENV)

    def __exit__(self, *_):
        fesetenv(&self.saved)


cdef class _Buffer:
    """Weights: contiguous numbers of float64 or float32, whose buffer is not released while this object lives."""

    cdef Py_buffer view
    cdef bint has_buffer
    cdef int kind

    def __cinit__(self, values):
        PyObject_GetBuffer(values, &self.view, PyBUF_FORMAT | PyBUF_ND)
        self.has_buffer = True
        if self.view.ndim != 1 or self.view.format not in (b"d", b"f"):
            raise TypeError("The weights must be a vector of float64 or float32.")
        if <uintptr_t> self.view.buf % self.view.itemsize:
            raise ValueError("The weights must be aligned.")
        self.kind = {b"d": WEIGHT_FLOAT64, b"f": WEIGHT_FLOAT32}[self.view.format]

    def __dealloc__(self):
        if self.has_buffer:
            PyBuffer_Release(&self.view)


cdef class Batch:
    """A batch (float16, float32 or float64, channels last), whose buffer is not released while this object lives.

    bfloat16: whether the batch, of uint16, holds the bits of bfloat16 numbers.
    weights: None, or one for each item of axis 0, as `survey_weights` takes them; none is negative, and times the
    factor, a power of two, none is above 1.

    count: elements per channel; rows: how many of them differ in address, which is what `accumulate` counts; grain:
    ranges of rows begin at multiples of it.
    """

    cdef Py_buffer view
    cdef bint has_buffer
    cdef Walk walk
    cdef const char *base
    cdef _Buffer weights
    cdef double factor
    cdef bint weighted
    cdef readonly object count

    def __cinit__(self, batch, bint bfloat16=False, weights=None, double factor=1.0):
        PyObject_GetBuffer(batch, &self.view, PyBUF_RECORDS_RO)
        self.has_buffer = True
        text = self.view.format
        code = text.lstrip(b"@=<>!^")
        if code not in ((b"H",) if bfloat16 else (b"e", b"f", b"d")):
            raise TypeError(f"The extension reads float16, bfloat16, float32 and float64, not format {text!r}.")
        if not 2 <= self.view.ndim <= MAX_AXES:
            raise ValueError(f"The extension reads 2 to {MAX_AXES} axes, not {self.view.ndim}.")
        if self.view.shape[self.view.ndim - 1] == 0:
            raise ValueError("The batch must have at least one channel.")
        self.walk.kind = {b"e": FLOAT16, b"H": BFLOAT16, b"f": FLOAT32, b"d": FLOAT64}[code]
        self.walk.itemsize = self.view.itemsize
        self.walk.swapped = (text[0] == c"<" and BIG_ENDIAN) or (text[0] in b">!" and not BIG_ENDIAN)
        self.factor = factor
        if weights is not None:
            self.weights = _Buffer(weights)
            if self.weights.view.shape[0] != self.view.shape[0]:
                raise ValueError(f"The weights must be {self.view.shape[0]}, one for each item.")
        self.weighted = weights is not None
        with nogil:
            plan(&self.view, self.weighted, &self.walk, &self.base)
        self.count = self.walk.count * int(self.walk.repeats)

    def __dealloc__(self):
        if self.has_buffer:
            PyBuffer_Release(&self.view)

    @property
    def rows(self):
        return self.walk.count

    @property
    def channels(self):
        return self.walk.channels

    @property
    def grain(self):
        return self.walk.grain

    @property
    def itemsize(self):
        return self.walk.itemsize

    @property
    def contiguous(self):
        """Whether one row follows the other in memory, as numbers that need no conversion."""
        return (self.walk.mode == ROWS and self.walk.repeats == 1
                and self.walk.stride[0] == self.walk.channels * self.walk.itemsize)

    cdef int check(self, double[:, ::1] state, Py_ssize_t first, Py_ssize_t count, Py_ssize_t channel) except -1:
        """Whether `accumulate` can do this."""
        cdef Py_ssize_t channels = state.shape[1]
        cdef Walk *walk = &self.walk
        if state.shape[0] != 4 or channels == 0 or channel < 0 or channels > walk.channels - channel:
            raise ValueError("The state must be [4, channels] with at least one channel, all in the batch.")
        if (first < 0 or count < 1 or count > walk.count - first or first % walk.grain
                or (count % walk.grain and first + count != walk.count)):
            raise ValueError(f"The rows must be some of {walk.count} and begin at multiples of {walk.grain}.")
        return 0

    def accumulate(self, double[:, ::1] state not None, Py_ssize_t first, Py_ssize_t count, Py_ssize_t channel=0,
                   double done=0.0, variant=None):
        """Merge the rows `first` to `first + count` into `state`, which holds `done` rows.

        state: [4, channels], of the channels from `channel` on; what it holds is ignored if `done` is 0.
        """
        cdef const Kernels *kernels = find_variant(variant)
        cdef Py_ssize_t channels = state.shape[1]
        cdef Walk *walk = &self.walk
        cdef Scratch scratch
        self.check(state, first, count, channel)
        allocate(&scratch, channels, walk.mode == GATHERED, False)
        with nogil:
            accumulate(kernels, self.base, walk, first, count, channel, channels, done, &state[0, 0],
                       channels, &scratch, NULL, NULL)
            free(scratch.memory)

    def accumulate_weighted(self, double[:, ::1] state not None, double[::1] poison not None, Py_ssize_t first,
                            Py_ssize_t count, Py_ssize_t channel=0, double high=0.0, double low=0.0, variant=None):
        """Merge rows with their weights into `state`, of the weight `high + low`; what it weighs then is returned so.

        What is not finite and weighs nothing makes its channel of `poison` [channels] NaN.
        """
        cdef const Kernels *kernels = find_variant(variant)
        cdef Py_ssize_t channels = state.shape[1]
        cdef Walk *walk = &self.walk
        cdef Scratch scratch
        cdef Weights weights
        self.check(state, first, count, channel)
        if not self.weighted or poison.shape[0] != channels:
            raise ValueError("The batch must have weights, and the poison must have the channels of the state.")
        weights.values, weights.poison = <const char *> self.weights.view.buf, &poison[0]
        weights.kind, weights.itemsize, weights.factor = self.weights.kind, self.weights.view.itemsize, self.factor
        weights.item = walk.count // self.view.shape[0]
        weights.high, weights.low = high, low
        allocate(&scratch, channels, walk.mode == GATHERED, True)
        with nogil:
            accumulate(kernels, self.base, walk, first, count, channel, channels, high, &state[0, 0], channels,
                       &scratch, NULL, &weights)
            free(scratch.memory)
        return weights.high, weights.low


cdef struct Task:
    const Walk *walk
    const char *base
    Py_ssize_t first, rows, band, channel, channels
    double *state
    Pair pair
    bint paired


cdef class Tasks:
    """`Batch.accumulate` for any number of states, in any number of threads that do not need the interpreter.

    Every thread that is in `run` takes the tasks that no other has taken, in order.
    """

    cdef Task *tasks
    cdef Py_ssize_t count, room, taken, widest
    cdef bint gathered
    # `taken` and `stopped` are read and written under the lock only.
    cdef bint stopped
    cdef PyThread_type_lock lock
    cdef list references

    def __cinit__(self):
        self.references = []
        self.lock = PyThread_allocate_lock()
        if self.lock == NULL:
            raise MemoryError()

    def __dealloc__(self):
        free(self.tasks)
        if self.lock != NULL:
            PyThread_free_lock(self.lock)

    def add(self, Batch batch not None, state not None, Py_ssize_t first, Py_ssize_t rows, Py_ssize_t band,
            Py_ssize_t channel=0, other=None, line=None, sums=None):
        """Rows `first` to `first + rows`, `band` at a time, go into `state` [4, channels], which is empty.

        other: None, or the bytes of an array like that of the batch, which must be contiguous, all channels at once;
        `add_residuals` of the two about `line` goes into `sums`, both [3, lanes], whole rows side by side.
        """
        cdef Task task
        cdef double[:, ::1] values = state
        cdef const unsigned char[::1] data
        cdef const double[:, ::1] about
        cdef double[:, ::1] total
        cdef void *memory
        batch.check(values, first, rows, channel)
        if batch.weighted:
            raise ValueError("A batch with weights is no task.")
        if band < 1 or band % batch.walk.grain:
            raise ValueError(f"The band must be a positive multiple of {batch.walk.grain}.")
        task.walk, task.base, task.first, task.rows, task.band = &batch.walk, batch.base, first, rows, band
        task.channel, task.channels, task.state = channel, values.shape[1], &values[0, 0]
        task.paired = other is not None
        if task.paired:
            data, about, total = other, line, sums
            if (not batch.contiguous or channel != 0 or values.shape[1] != batch.walk.channels
                    or data.shape[0] != batch.view.len or <uintptr_t> &data[0] % batch.walk.itemsize):
                raise ValueError("Both arrays must be contiguous, aligned and as long, and taken with all channels.")
            if (about.shape[0] != 3 or total.shape[0] != 3 or about.shape[1] != total.shape[1]
                    or about.shape[1] < batch.walk.channels or about.shape[1] % batch.walk.channels):
                raise ValueError("The line and the sums must be [3, lanes], a multiple of the channels.")
            task.pair.data, task.pair.lanes = <const char *> &data[0], about.shape[1]
            task.pair.line, task.pair.sums = &about[0, 0], &total[0, 0]
        if self.count == self.room:
            memory = realloc(self.tasks, (2 * self.room + 64) * sizeof(Task))
            if memory == NULL:
                raise MemoryError()
            self.tasks = <Task *> memory
            self.room = 2 * self.room + 64
        self.references.append((batch, state, other, line, sums))
        self.tasks[self.count] = task
        self.count += 1
        self.widest = max(self.widest, task.channels)
        self.gathered |= batch.walk.mode == GATHERED

    def stop(self):
        """End every `run` after its current band."""
        PyThread_acquire_lock(self.lock, WAIT_LOCK)
        self.stopped = True
        PyThread_release_lock(self.lock)

    cdef bint is_stopped(self) noexcept nogil:
        cdef bint stopped
        PyThread_acquire_lock(self.lock, WAIT_LOCK)
        stopped = self.stopped
        PyThread_release_lock(self.lock)
        return stopped

    cdef Py_ssize_t take(self) noexcept nogil:
        """The index of a task that no other thread has taken; -1 if there is none or all are to stop."""
        cdef Py_ssize_t i = -1
        PyThread_acquire_lock(self.lock, WAIT_LOCK)
        if not self.stopped and self.taken < self.count:
            i = self.taken
            self.taken += 1
        PyThread_release_lock(self.lock)
        return i

    def run(self, variant=None):
        """Do the tasks that no other thread has taken; nothing may be added meanwhile."""
        cdef const Kernels *kernels = find_variant(variant)
        cdef Scratch scratch
        cdef Task *task
        cdef Py_ssize_t i, done, rows
        allocate(&scratch, self.widest, self.gathered, False)
        with nogil:
            while True:
                i = self.take()
                if i < 0:
                    break
                task = &self.tasks[i]
                done = 0
                while done < task.rows and not self.is_stopped():
                    rows = min(task.band, task.rows - done)
                    accumulate(kernels, task.base, task.walk, task.first + done, rows, task.channel, task.channels,
                               done, task.state, task.channels, &scratch, &task.pair if task.paired else NULL, NULL)
                    done += rows
            free(scratch.memory)


def merge_states(double[:, ::1] state not None, const double[:, ::1] other not None, double share, variant=None):
    """Merge `other` into `state`; `share`, from 0 to 1/2, is the weight of the other in the weight of both."""
    cdef const Kernels *kernels = find_variant(variant)
    if state.shape[0] != 4 or other.shape[0] != 4 or state.shape[1] != other.shape[1] or state.shape[1] == 0:
        raise ValueError("Both states must be [4, channels] with the same channels.")
    with nogil:
        kernels.merge(state.shape[1], &state[0, 0], state.shape[1], &other[0, 0], other.shape[1], share)


def survey_weights(weights not None, variant=None):
    """The least and the largest of weights, a vector of float64 or float32, and numbers that add up to their sum.

    The exact sum of these is that of the weights, as good as exact; one of them is not finite if one of the weights is
    not, or if these have no finite sum. Zeros if there are no weights.
    """
    cdef const Kernels *kernels = find_variant(variant)
    cdef _Buffer buffer = _Buffer(weights)
    cdef Py_ssize_t count = buffer.view.shape[0]
    cdef const char *values = <const char *> buffer.view.buf
    cdef Py_ssize_t done, i
    cdef double least = 0.0, largest = 0.0
    cdef double found[34]
    sums = []
    # In parts, so that what is lost to rounding is small enough to be added up plainly.
    for done in range(0, count, 65536):
        with nogil:
            kernels.survey[buffer.kind](values + done * buffer.view.itemsize, min(<Py_ssize_t> 65536, count - done),
                                        found)
        least = found[0] if done == 0 else min(least, found[0])
        largest = found[1] if done == 0 else max(largest, found[1])
        sums.extend([found[i] for i in range(2, 34)])
    return least, largest, sums


ctypedef fused real:
    uint16_t
    float
    double


def add_residuals(const real[:, ::1] x not None, const real[:, ::1] y not None, const double[:, ::1] line not None,
                  double[:, ::1] sums not None, bint bfloat16=False, variant=None):
    """Add to `sums` [3, lanes] those of r, d r and r^2, where d = x - mid and r = (y - at) - slope d.

    x, y: [rows, lanes], of uint16 if they hold the bits of float16 or bfloat16 numbers; line: [3, lanes], mid, at and
    slope.
    """
    cdef const Kernels *kernels = find_variant(variant)
    cdef Py_ssize_t rows = x.shape[0]
    cdef Py_ssize_t lanes = x.shape[1]
    cdef int kind = FLOAT64
    if real is float:
        kind = FLOAT32
    elif real is uint16_t:
        kind = BFLOAT16 if bfloat16 else FLOAT16
    if y.shape[0] != rows or not lanes == y.shape[1] == line.shape[1] == sums.shape[1]:
        raise ValueError("The arrays must be [rows, lanes], the line and the sums [3, lanes].")
    if line.shape[0] != 3 or sums.shape[0] != 3:
        raise ValueError("The line and the sums must have three rows.")
    if rows == 0 or lanes == 0:
        return
    with nogil:
        kernels.lines[kind](&x[0, 0], &y[0, 0], rows, lanes, lanes, &line[0, 0], &sums[0, 0])
