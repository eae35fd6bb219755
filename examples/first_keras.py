"""A first program in the Keras manner: Fashion-MNIST, two dense layers, five epochs.

With `import tensorflow as tf` and Keras' own data set it is the program of the tutorials.
"""

import time

import gradloom as tf
from gradloom.datasets import fashion_mnist

(x_train, y_train), (x_test, y_test) = fashion_mnist.load_data()
x_train = x_train.reshape(-1, 784).astype("float32") / 255
x_test = x_test.reshape(-1, 784).astype("float32") / 255

start = time.perf_counter()
model = tf.keras.Sequential([
  tf.keras.layers.Dense(128, activation='relu'),
  tf.keras.layers.Dense(10, activation='softmax')
])
model.compile(optimizer='adam', loss='sparse_categorical_crossentropy', metrics=['accuracy'])
model.fit(x_train, y_train, epochs=5)
seconds = time.perf_counter() - start
loss, accuracy = model.evaluate(x_test, y_test)

steps = 5 * -(-len(x_train) // 32)  # the default batch size
print(f"Keras manner: test accuracy {accuracy:.4f}")
print(f"{steps} steps in {seconds:.2f} s, {steps / seconds:,.0f} steps a second")
