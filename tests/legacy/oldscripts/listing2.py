import tensorflow as tf
import numpy as np
from tensorflow.contrib.layers import batch_norm

# 同一个 batch_norm 层建两次: 训练和测试共享变量
def bn(x, is_training):
    with tf.variable_scope('my', reuse=tf.AUTO_REUSE):
        return batch_norm(x, decay=1, is_training=is_training, updates_collections=None)

x = tf.placeholder(tf.float32, [1, 4, 4, 1])
train = bn(x, True)
test = bn(x, False)

def show(sess):
    # 打印所有变量
    for v in tf.global_variables():
        print v
        print sess.run(v)

with tf.Session() as sess:
    sess.run(tf.global_variables_initializer())
    value = np.random.uniform(0, 255, (1, 4, 4, 1))
    show(sess)
    print 'train', sess.run(train, feed_dict={x: value})   # 训练
    show(sess)
    print 'test', sess.run(test, feed_dict={x: value})     # 测试
    show(sess)
