"""Files that hold a graph of TensorFlow, and live graphs, as one kind of object; read without TensorFlow."""
