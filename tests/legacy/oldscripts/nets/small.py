import tensorflow as tf
import common

slim = tf.contrib.slim


def arg_scope(is_training):
    params = {"is_training": is_training, "decay": 0.7, "epsilon": 0.001}
    with slim.arg_scope(
        [slim.conv2d, slim.fully_connected],
        weights_regularizer=slim.l2_regularizer(0.0005),
        weights_initializer=common.initializer(3),
        normalizer_fn=slim.batch_norm,
        normalizer_params=params,
    ) as scope:
        return scope


def network(images, classes, scope="small"):
    with tf.variable_scope(scope, "small", [images]) as sc:
        collection = sc.name + "_end_points"
        with slim.arg_scope([slim.conv2d, slim.fully_connected], outputs_collections=collection):
            net = slim.repeat(images, 2, slim.conv2d, 6, [3, 3], scope="conv")
            net = slim.max_pool2d(net, [2, 2], scope="pool")
            net = slim.flatten(net)
            logits = slim.fully_connected(net, classes, activation_fn=None, normalizer_fn=None, scope="logits")
        return logits, slim.utils.convert_collection_to_dict(collection)
