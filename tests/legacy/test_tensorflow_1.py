"""What operations of TensorFlow itself do in a script, beside what they did in the real 1.15.5: shapes and errors."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tf1bn.legacy import run_script

pytestmark = pytest.mark.slow
SCRIPTS = Path(__file__).parent / "oldscripts"
# What differs, as it is here; there `TensorArray.stack` knew less, and a placeholder's shape reached two more.
SHAPES = {
    "tf.sparse_reduce_sum(tf.sparse_placeholder(tf.float32, [4, 5]), 1)": "float32 ?",
    "tf.edit_distance(tf.sparse_placeholder(tf.int64, [2, 5]), tf.sparse_placeholder(tf.int64, [2, 5]))": "float32 ?",
    "tf.TensorArray(tf.float32, 3).unstack(p(3, 4)).stack()": "float32 (3, 4)",
}
# Of integers it returned integers in 1.15 alone.
SHAPES["tf.image.per_image_standardization(tf.cast(p(8, 6, 3), tf.uint8))"] = "float32 (8, 6, 3)"
# The fused layer has an implementation of NCHW on the CPU today; a folder that is not there is asked for earlier.
ERRORS = {"nchw fused": "runs (1, 3, 8, 8)", "restore": "ValueError"}


@pytest.mark.parametrize(("name", "expected", "number"), [("static_shapes", SHAPES, 390), ("errors", ERRORS, 22)])
def test_lines_are_those_of_1_15_5(name, expected, number):
    # oneDNN, which TensorFlow uses on processors that have vectors of 512 bits, computes in NCHW.
    done = subprocess.run(
        [sys.executable, "-m", "tf1bn", "run", SCRIPTS / f"{name}.py"],
        env={**os.environ, "TF_ENABLE_ONEDNN_OPTS": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    recorded = (SCRIPTS / f"{name}.tf-1.15.5.txt").read_text().splitlines()
    printed = dict(line.split(" -> ") for line in done.stdout.splitlines())
    assert len(recorded) >= number
    assert printed == dict(line.split(" -> ") for line in recorded) | expected


QUEUES = """
    import sys
    import tensorflow as tf
    how = sys.argv[1]
    name = tf.train.string_input_producer(["a", "b", "c"], shuffle=False).dequeue()
    batch = tf.train.batch([name], 2)
    if how == "monitored":
        with tf.train.MonitoredTrainingSession() as sess:
            print(sess.run(batch).tolist())
    elif how == "forgotten":
        sess = tf.Session()
        tf.train.start_queue_runners(sess)
        print(sess.run(batch).tolist())
    else:
        with tf.Session() as sess:
            coord = tf.train.Coordinator()
            threads = tf.train.start_queue_runners(sess, coord)
            print(sess.run(batch).tolist())
            if how == "joined":
                coord.request_stop()
                coord.join(threads)
            elif how == "error":
                with coord.stop_on_exception():
                    raise KeyError("mine")
                coord.join(threads)
            elif how == "exit":
                sys.exit(3)
    print("end")
    """


@pytest.mark.parametrize(
    ("how", "status", "last"),
    [
        ("joined", 0, "end"),
        ("left", 0, "end"),
        ("forgotten", 0, "end"),
        ("monitored", 0, "end"),
        ("exit", 3, ""),
        ("error", 1, ""),
    ],
)
def test_scripts_whose_queues_are_filled_end_as_in_1_15_5(how, status, last, tmp_path, capsys):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(QUEUES))
    assert run_script(str(script), [how]) == status
    out, err = capsys.readouterr()
    assert out.split("\n") == ["[b'a', b'b']", *([last] if last else []), ""]
    assert ("KeyError: 'mine'" in err) is (how == "error")


# What TF 1.15.5 printed; in Python 3 a half of 100 is 50.0.
DIMENSIONS = """
    import numpy as np
    import tensorflow as tf
    print(tf.get_variable("v", [3, 100 / 2], initializer=tf.truncated_normal_initializer(stddev=0.02)).shape)
    print(tf.placeholder(tf.float32, [None, 100 / 2]).shape, tf.TensorShape([np.float32(7)]), tf.Dimension(8.0))
    print(tf.contrib.slim.conv2d(tf.placeholder(tf.float32, [None, 8, 8, 4]), 8 / 2, 3).shape)
    try:
        tf.get_variable("w", [3, 50.5])
    except ValueError as error:
        print(error)
    """


def test_whole_floats_are_dimensions_as_in_1_15_5(tmp_path, capsys):
    import tensorflow

    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(DIMENSIONS))
    assert run_script(str(script)) == 0
    assert capsys.readouterr().out.splitlines() == [
        "(3, 50)",
        "(?, 50) (7,) 8",
        "(?, 8, 8, 4)",
        "Ambiguous dimension: 50.5",
    ]
    with pytest.raises(TypeError, match="integer"):
        tensorflow.compat.v1.Dimension(8.0)
