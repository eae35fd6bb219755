"""A small convolutional network on Fashion-MNIST, with PyTorch's loop: 0.938 of the test images right in twelve epochs.

With `import torch` and `from torch import nn` it runs on PyTorch as it stands.

Four convolutions with norm and activation, three of them with pooling before these, which makes them a quarter of the
work; images mirrored and shifted by a pixel at random; a learning rate that rises and falls once (Smith, Topin 2018).
"""

import argparse
import time

import numpy as np

import gradloom as torch
from gradloom import nn
from gradloom.datasets import fashion_mnist

options = argparse.ArgumentParser()
options.add_argument("--epochs", type=int, default=12)
options.add_argument("--batch-size", type=int, default=128)
options.add_argument("--rate", type=float, default=0.006, help="the highest learning rate")
options.add_argument("--shift", type=int, default=1, help="pixels that images are moved by at most")
options.add_argument("--images", type=int, default=60000, help="training images to use")
args = options.parse_args()

torch.manual_seed(0)
rng = np.random.default_rng(0)
(x_train, y_train), (x_test, y_test) = fashion_mnist.load_data()
x_train, y_train = x_train[: args.images], y_train[: args.images]


def prepared(images):
    return torch.tensor((images[:, None].astype("float32") - 72.9) / 90.0)


def varied(images):
    """Images (N, 28, 28), half of them mirrored, each at a place of its own."""
    n, s = len(images), args.shift
    mirrored = np.where(rng.random((n, 1, 1)) < 0.5, images, images[:, :, ::-1])
    wide = np.pad(mirrored, ((0, 0), (s, s), (s, s)))
    rows, columns = (rng.integers(0, 2 * s + 1, (n, 1)) + np.arange(28) for _ in range(2))
    return wide[np.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]


def block(channels, width, pool=True):
    layers = [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    if pool:
        layers.insert(1, nn.MaxPool2d(2))
    return layers


model = nn.Sequential(
    *block(1, 32),
    *block(32, 64),
    *block(64, 128, pool=False),
    *block(128, 128),
    nn.Flatten(),
    nn.Linear(128 * 3 * 3, 10),
)
loss_fn = nn.CrossEntropyLoss(label_smoothing=0.1)
optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
steps = len(x_train) // args.batch_size
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.rate, total_steps=args.epochs * steps, pct_start=0.2)


def accuracy():
    model.eval()
    right = 0
    with torch.no_grad():
        for k in range(0, len(x_test), 1000):
            guesses = model(prepared(x_test[k : k + 1000])).argmax(1)
            right += (guesses == torch.tensor(y_test[k : k + 1000].astype("int64"))).sum().item()
    model.train()
    return right / len(x_test)


start = time.perf_counter()
for epoch in range(args.epochs):
    order = rng.permutation(len(x_train))
    for step in range(steps):
        chosen = order[step * args.batch_size : (step + 1) * args.batch_size]
        images = prepared(varied(x_train[chosen]))
        labels = torch.tensor(y_train[chosen].astype("int64"))
        optimizer.zero_grad()
        loss = loss_fn(model(images), labels)
        loss.backward()
        optimizer.step()
        schedule.step()
    seconds = time.perf_counter() - start
    print(f"epoch {epoch + 1:2}: loss {loss.item():.3f}, test accuracy {accuracy():.4f}, {seconds:.0f} s", flush=True)
