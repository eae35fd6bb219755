"""A character model with a GRU and a translation with a GRU, written for PyTorch in a tutorial's manner.

The tests run it with PyTorch and, its imports changed, here.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import optim
from torch.utils.data import DataLoader, TensorDataset


class CharRNN(nn.Module):
    def __init__(self, vocabulary, width, layers=2):
        super().__init__()
        self.layers, self.width = layers, width
        self.encoder = nn.Embedding(vocabulary, width)
        self.rnn = nn.GRU(width, width, layers)
        self.decoder = nn.Linear(width, vocabulary)

    def forward(self, letter, hidden):
        x = self.encoder(letter.view(1, -1))
        output, hidden = self.rnn(x.view(1, letter.size(0), -1), hidden)
        return self.decoder(output.view(letter.size(0), -1)), hidden

    def init_hidden(self, batch):
        return torch.zeros(self.layers, batch, self.width)


def train_chars(model, data, steps, length, lr):
    """One letter after the other, the losses added up: the loop over time is Python's."""
    optimizer = optim.Adam(model.parameters(), lr=lr)
    criterion = nn.CrossEntropyLoss()
    losses = []
    for step in range(steps):
        hidden = model.init_hidden(4)
        starts = [(step * 4 + k) * 5 % (len(data) - length - 1) for k in range(4)]
        x = torch.stack([data[s : s + length] for s in starts])
        y = torch.stack([data[s + 1 : s + length + 1] for s in starts])
        model.zero_grad()
        loss = 0
        for t in range(length):
            output, hidden = model(x[:, t], hidden)
            loss += criterion(output, y[:, t])
        loss.backward()
        optimizer.step()
        losses.append(loss.item() / length)
    return losses


def sample_chars(model, start, count, temperature=0.8):
    hidden = model.init_hidden(1)
    with torch.no_grad():
        for letter in start[:-1]:
            _, hidden = model(letter.unsqueeze(0), hidden)
        letter, out = start[-1], []
        for _ in range(count):
            output, hidden = model(letter.unsqueeze(0), hidden)
            shares = output.data.view(-1).div(temperature).exp()
            letter = torch.multinomial(shares, 1)[0]
            out.append(int(letter))
    return out


class EncoderRNN(nn.Module):
    def __init__(self, vocabulary, width):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.gru = nn.GRU(width, width, batch_first=True)

    def forward(self, x):
        return self.gru(self.embedding(x))


class Attention(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.w, self.u, self.v = nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, 1)

    def forward(self, query, keys):
        scores = self.v(torch.tanh(self.w(query) + self.u(keys))).squeeze(2).unsqueeze(1)
        weights = F.softmax(scores, dim=-1)
        return torch.bmm(weights, keys), weights


class AttentionDecoder(nn.Module):
    def __init__(self, width, vocabulary):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.attention = Attention(width)
        self.gru = nn.GRU(2 * width, width, batch_first=True)
        self.out = nn.Linear(width, vocabulary)

    def forward(self, encoded, hidden, target=None, length=6):
        token = torch.empty(encoded.size(0), 1, dtype=torch.long).fill_(1)
        outputs, attentions = [], []
        for t in range(length):
            query = hidden.permute(1, 0, 2)
            context, weights = self.attention(query, encoded)
            output, hidden = self.gru(torch.cat((self.embedding(token), context), dim=2), hidden)
            outputs.append(self.out(output))
            attentions.append(weights)
            if target is not None:
                token = target[:, t].unsqueeze(1)
            else:
                _, best = outputs[-1].topk(1)
                token = best.squeeze(-1).detach()
        return F.log_softmax(torch.cat(outputs, dim=1), dim=-1), hidden, torch.cat(attentions, dim=1)


def train_translation(encoder, decoder, source, target, epochs, lr):
    loader = DataLoader(TensorDataset(source, target), batch_size=8, shuffle=False)
    optimizers = [optim.Adam(part.parameters(), lr=lr) for part in (encoder, decoder)]
    criterion = nn.NLLLoss()
    losses = []
    for _ in range(epochs):
        total = 0
        for x, y in loader:
            for optimizer in optimizers:
                optimizer.zero_grad()
            encoded, hidden = encoder(x)
            outputs, _, _ = decoder(encoded, hidden, y, y.size(1))
            loss = criterion(outputs.view(-1, outputs.size(-1)), y.view(-1))
            loss.backward()
            for optimizer in optimizers:
                optimizer.step()
            total += loss.item()
        losses.append(total / len(loader))
    return losses


def translate(encoder, decoder, source, length):
    with torch.no_grad():
        encoded, hidden = encoder(source)
        outputs, _, attentions = decoder(encoded, hidden, None, length)
        _, best = outputs.topk(1)
    return best.squeeze(-1), attentions
