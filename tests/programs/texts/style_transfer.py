"""Neural style: Gram matrices, features by slices of a network, an image optimised by LBFGS; a sine by LSTM cells."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from program_tools import fill, tick


def gram_matrix(input):
    a, b, c, d = input.size()
    features = input.view(a * b, c * d)
    return torch.mm(features, features.t()).div(a * b * c * d)


class ContentLoss(nn.Module):
    def __init__(self, target):
        super().__init__()
        self.target = target.detach()

    def forward(self, input):
        self.loss = F.mse_loss(input, self.target)
        return input


class StyleLoss(nn.Module):
    def __init__(self, target_feature):
        super().__init__()
        self.target = gram_matrix(target_feature).detach()

    def forward(self, input):
        self.loss = F.mse_loss(gram_matrix(input), self.target)
        return input


rng = np.random.default_rng(0)
content, style = (torch.from_numpy(rng.random((1, 3, 16, 16), dtype=np.float32)) for _ in range(2))
cnn = fill(
    nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(6, 8, 3, padding=1), nn.ReLU(inplace=True)
    )
)
model, i, contents, styles = nn.Sequential(), 0, [], []
for layer in cnn.children():
    if isinstance(layer, nn.Conv2d):
        i += 1
        name = f"conv_{i}"
    else:
        name, layer = f"relu_{i}", nn.ReLU(inplace=False)
    model.add_module(name, layer)
    if name == "conv_2":
        contents.append(ContentLoss(model(content).detach()))
        model.add_module("content_loss", contents[-1])
    if name.startswith("conv"):
        styles.append(StyleLoss(model(style).detach()))
        model.add_module(f"style_loss_{i}", styles[-1])
print([n for n, _ in model.named_children()])
input_img = content.clone()
input_img.requires_grad_(True)
model.eval()
model.requires_grad_(False)
optimizer = optim.LBFGS([input_img])
run = [0]
while run[0] <= 40:

    def closure():
        with torch.no_grad():
            input_img.clamp_(0, 1)
        optimizer.zero_grad()
        model(input_img)
        style_score = sum(sl.loss for sl in styles) * 1000
        content_score = sum(cl.loss for cl in contents)
        loss = style_score + content_score
        loss.backward()
        run[0] += 1
        if run[0] in (1, 3):
            print(run[0], style_score.item(), content_score.item())
        tick()
        return loss

    optimizer.step(closure)
with torch.no_grad():
    input_img.clamp_(0, 1)
print("better", model(input_img) is not None and sum(sl.loss for sl in styles).item() < 1e-3)


class Sequence(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm1, self.lstm2, self.linear = nn.LSTMCell(1, 11), nn.LSTMCell(11, 11), nn.Linear(11, 1)

    def forward(self, input, future=0):
        outputs = []
        h_t = torch.zeros(input.size(0), 11, dtype=torch.double)
        c_t = torch.zeros(input.size(0), 11, dtype=torch.double)
        h_t2 = torch.zeros(input.size(0), 11, dtype=torch.double)
        c_t2 = torch.zeros(input.size(0), 11, dtype=torch.double)
        for input_t in input.split(1, dim=1):
            h_t, c_t = self.lstm1(input_t, (h_t, c_t))
            h_t2, c_t2 = self.lstm2(h_t, (h_t2, c_t2))
            output = self.linear(h_t2)
            outputs += [output]
        for _ in range(future):
            h_t, c_t = self.lstm1(output, (h_t, c_t))
            h_t2, c_t2 = self.lstm2(h_t, (h_t2, c_t2))
            output = self.linear(h_t2)
            outputs += [output]
        return torch.cat(outputs, dim=1)


wave = torch.from_numpy(np.sin((np.arange(12) + rng.integers(-4, 4, 3).reshape(3, 1)) / 2.0).astype("float64"))
seq = fill(Sequence().double())
criterion = nn.MSELoss()
optimizer = optim.LBFGS(seq.parameters(), lr=0.5, max_iter=4)
for step in range(3):

    def closure():
        optimizer.zero_grad()
        loss = criterion(seq(wave[:, :-1]), wave[:, 1:])
        loss.backward()
        tick()
        return loss

    print("sine", optimizer.step(closure).item())
with torch.no_grad():
    print(seq(wave[:, :-1], future=4)[:, -4:].numpy().sum())
