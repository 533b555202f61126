# Layers, losses, data and nets of contrib that stand around batch norm.
from __future__ import print_function
import numpy as np
import tensorflow as tf
from tensorflow.contrib import layers, slim
from tensorflow.contrib.slim.nets import resnet_v1
from tensorflow.contrib.slim.python.slim.nets import resnet_utils, vgg

random = np.random.RandomState(7)
x = tf.constant(random.normal(1, 2, (2, 8, 8, 3)).astype(np.float32))
values = [layers.layer_norm(x), layers.instance_norm(x, epsilon=1e-3), slim.group_norm(x, groups=3),
          layers.unit_norm(x, dim=3), layers.maxout(x, 1), layers.spatial_softmax(x), slim.max_pool3d(x[..., None], 2),
          layers.conv2d_in_plane(x, 3, weights_initializer=tf.constant_initializer(0.1))]
names = ["layer_norm", "instance_norm", "group_norm", "unit_norm", "maxout", "softmax", "pool", "in_plane"]
tf.contrib.losses.mean_squared_error(x[:, 0], tf.zeros([2, 8, 3]), weights=0.5)
tf.contrib.losses.log_loss(tf.sigmoid(x[:, 1]), tf.ones([2, 8, 3]))
names, values = names + ["loss"], values + [tf.contrib.losses.get_total_loss()]
with slim.arg_scope(resnet_utils.resnet_arg_scope(batch_norm_decay=0.9)):
    blocks = [resnet_v1.resnet_v1_block("block1", base_depth=2, num_units=2, stride=2)]
    net, ends = resnet_v1.resnet_v1(x, blocks, 4, is_training=True, output_stride=None, scope="res")
names, values = names + ["net"], values + [net]
data = tf.data.Dataset.from_tensor_slices(tf.range(7)).apply(
    tf.contrib.data.group_by_window(lambda n: tf.cast(n % 2, tf.int64), lambda key, rows: rows.batch(4), 4))
names, values = names + ["batch"], values + [data.make_one_shot_iterator().get_next()]
with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
    done = tf.no_op()
with tf.Session() as sess:
    sess.run(tf.global_variables_initializer())
    for v in tf.trainable_variables("res"):
        v.load(np.cos(np.arange(int(np.prod(v.shape.as_list()))) * 1.7).reshape(v.shape.as_list()), sess)
    for name, value in zip(names, sess.run(values)):
        print(name, value.shape, " ".join("%.5f" % v for v in np.ravel(value)[:6]))
    sess.run(done)
    for v in slim.get_variables_by_suffix("moving_variance")[:9]:
        print(v.op.name, " ".join("%.5f" % v for v in v.eval()[:4]))
print(vgg.vgg_16.default_image_size, sorted(ends)[:4], len(slim.get_model_variables()))
