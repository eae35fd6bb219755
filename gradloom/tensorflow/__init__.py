"""TensorFlow's names round `tf.keras`, so that programs run with `import gradloom as tf`.

`tf.constant`, `tf.cast`, `tf.reduce_mean`, `tf.function`, `tf.math`, `tf.nn`, `tf.random`, `tf.image`, `tf.config`.
Of the names that PyTorch has too, `split`, `gather`, `fill` and `one_hot` take both kinds of calls; `range`, `equal`
and `argmax` without an axis mean what PyTorch means (`tf.math.equal` and `tf.math.argmax` are TensorFlow's).
"""
