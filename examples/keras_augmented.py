"""A small convolutional network in the Keras manner that augments its images itself, kept in a file and read again.

With `import keras`, `from keras import layers` and Keras' own data set it runs on Keras 3.
"""

import argparse

import numpy as np

from gradloom import keras
from gradloom.datasets import fashion_mnist
from gradloom.keras import layers

options = argparse.ArgumentParser()
options.add_argument("--epochs", type=int, default=10)
options.add_argument("--images", type=int, default=60000, help="training images to use")
options.add_argument("--file", default="clothes.keras", help="where the model is kept")
args = options.parse_args()

keras.utils.set_random_seed(0)
(x_train, y_train), (x_test, y_test) = fashion_mnist.load_data()
x_train, y_train = x_train[: args.images, :, :, None], y_train[: args.images]
x_test = x_test[..., None]

augment = layers.Pipeline(
    [
        layers.RandomFlip("horizontal"),
        layers.RandomTranslation(0.05, 0.05, fill_mode="constant"),
        layers.RandomErasing(0.3, scale=(0.02, 0.1), fill_value=0),
    ]
)
inputs = keras.Input((28, 28, 1))
x = layers.Rescaling(1 / 255)(augment(inputs))
for filters in (32, 64):
    x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    x = layers.ReLU()(x)
    x = layers.MaxPooling2D()(x)
x = layers.Dropout(0.3)(layers.Flatten()(x))
model = keras.Model(inputs, layers.Dense(10, activation="softmax")(x))

steps = args.epochs * -(-len(x_train) // 128)
rate = keras.optimizers.schedules.CosineDecay(3e-3, steps)
model.compile(keras.optimizers.AdamW(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(x_train, y_train, batch_size=128, epochs=args.epochs, validation_data=(x_test, y_test))

model.save(args.file)
again = keras.models.load_model(args.file)
accuracy = np.mean(again.predict(x_test, verbose=0).argmax(1) == y_test)
print(f"read again from {args.file}: test accuracy {accuracy:.4f}")
