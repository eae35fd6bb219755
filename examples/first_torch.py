"""A first program in the PyTorch manner: Fashion-MNIST, two linear layers, a training loop written by hand.

With `import torch` and `import torch.nn as nn` it runs on PyTorch as it stands.
"""

import time

import gradloom as torch
import gradloom.nn as nn
from gradloom.datasets import fashion_mnist

(x_train, y_train), (x_test, y_test) = fashion_mnist.load_data()
x_train = torch.tensor(x_train.reshape(-1, 784).astype("float32") / 255)
x_test = torch.tensor(x_test.reshape(-1, 784).astype("float32") / 255)
y_train = torch.tensor(y_train.astype("int64"))
y_test = torch.tensor(y_test.astype("int64"))
loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x_train, y_train), batch_size=32, shuffle=True)

start = time.perf_counter()


class MyModel(nn.Module):
  def __init__(self):
    super(MyModel, self).__init__()
    self.linear1 = nn.Linear(784, 128)
    self.linear2 = nn.Linear(128, 10)
  def forward(self, x):
    x = torch.relu(self.linear1(x))
    x = self.linear2(x)
    return x
model = MyModel()
loss_fn = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters())
for epoch in range(5):
    for images, labels in loader:
        outputs = model(images)
        loss = loss_fn(outputs, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch + 1} of 5, last loss {loss.item():.4f}")

seconds = time.perf_counter() - start
with torch.no_grad():
    accuracy = (model(x_test).argmax(1) == y_test).float().mean().item()

steps = 5 * len(loader)
print(f"PyTorch manner: test accuracy {accuracy:.4f}")
print(f"{steps} steps in {seconds:.2f} s, {steps / seconds:,.0f} steps a second")
