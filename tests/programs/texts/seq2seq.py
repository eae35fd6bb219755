"""Translation: GRU encoder and decoder with Bahdanau attention; a Transformer with masks, label smoothing, greedy decoding."""

import math

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from program_tools import fill, tick
from torch import optim
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

SOS, EOS, PAD = 0, 1, 2


class EncoderRNN(nn.Module):
    def __init__(self, size, hidden):
        super().__init__()
        self.embedding, self.gru = nn.Embedding(size, hidden), nn.GRU(hidden, hidden, batch_first=True)

    def forward(self, input):
        return self.gru(self.embedding(input))


class BahdanauAttention(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.Wa, self.Ua, self.Va = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, 1)

    def forward(self, query, keys):
        scores = self.Va(torch.tanh(self.Wa(query) + self.Ua(keys))).squeeze(2).unsqueeze(1)
        weights = F.softmax(scores, dim=-1)
        return torch.bmm(weights, keys), weights


class AttnDecoderRNN(nn.Module):
    def __init__(self, hidden, size):
        super().__init__()
        self.embedding, self.attention = nn.Embedding(size, hidden), BahdanauAttention(hidden)
        self.gru, self.out = nn.GRU(2 * hidden, hidden, batch_first=True), nn.Linear(hidden, size)

    def forward(self, encoder_outputs, encoder_hidden, target=None):
        n = encoder_outputs.size(0)
        decoder_input = torch.empty(n, 1, dtype=torch.long).fill_(SOS)
        hidden, outputs, attentions = encoder_hidden, [], []
        for i in range(6):
            embedded = self.embedding(decoder_input)
            context, weights = self.attention(hidden.permute(1, 0, 2), encoder_outputs)
            output, hidden = self.gru(torch.cat((embedded, context), dim=2), hidden)
            output = self.out(output)
            outputs.append(output)
            attentions.append(weights)
            if target is not None:
                decoder_input = target[:, i].unsqueeze(1)
            else:
                _, topi = output.topk(1)
                decoder_input = topi.squeeze(-1).detach()
        return F.log_softmax(torch.cat(outputs, dim=1), dim=-1), hidden, torch.cat(attentions, dim=1)


rng = np.random.default_rng(0)
source, target = (torch.from_numpy(rng.integers(3, 20, (6, 6))) for _ in range(2))
encoder, decoder = fill(EncoderRNN(20, 16), 1), fill(AttnDecoderRNN(16, 20), 2)
optimizers = [optim.Adam(m.parameters(), lr=0.01) for m in (encoder, decoder)]
criterion = nn.NLLLoss()
for step in range(25):
    for o in optimizers:
        o.zero_grad()
    outputs, hidden = encoder(source)
    decoded, _, _ = decoder(outputs, hidden, target)
    loss = criterion(decoded.view(-1, decoded.size(-1)), target.view(-1))
    loss.backward()
    for o in optimizers:
        o.step()
    tick()
    if step % 6 == 0:
        print(loss.item())
with torch.no_grad():
    encoder.eval()
    decoded, _, attention = decoder(*encoder(source[:1]))
    print(decoded.topk(1)[1].squeeze().tolist(), tuple(attention.shape))


class Seq2SeqTransformer(nn.Module):
    def __init__(self, d=16, vocab=20):
        super().__init__()
        self.transformer = nn.Transformer(d, 2, 1, 1, 32, dropout=0.0, batch_first=False)
        self.generator, self.src_emb, self.tgt_emb = nn.Linear(d, vocab), nn.Embedding(vocab, d), nn.Embedding(vocab, d)
        den = torch.exp(-torch.arange(0, d, 2) * math.log(10000) / d)
        pos = torch.arange(0, 30).reshape(30, 1)
        table = torch.zeros((30, d))
        table[:, 0::2], table[:, 1::2] = torch.sin(pos * den), torch.cos(pos * den)
        self.register_buffer("pos_embedding", table.unsqueeze(-2))
        for p in self.parameters():
            if p.dim() > 1:
                nn.init.xavier_uniform_(p)

    def embed(self, emb, tokens):
        return emb(tokens.long()) * math.sqrt(emb.embedding_dim) + self.pos_embedding[: tokens.size(0), :]

    def forward(self, src, trg, src_mask, tgt_mask, src_pad, tgt_pad, memory_pad):
        outs = self.transformer(
            self.embed(self.src_emb, src),
            self.embed(self.tgt_emb, trg),
            src_mask,
            tgt_mask,
            None,
            src_pad,
            tgt_pad,
            memory_pad,
        )
        return self.generator(outs)


def square_mask(sz):
    mask = (torch.triu(torch.ones((sz, sz))) == 1).transpose(0, 1)
    return mask.float().masked_fill(mask == 0, float("-inf")).masked_fill(mask == 1, float(0.0))


def create_mask(src, tgt):
    src_mask = torch.zeros((src.shape[0], src.shape[0])).type(torch.bool)
    return src_mask, square_mask(tgt.shape[0]), (src == PAD).transpose(0, 1), (tgt == PAD).transpose(0, 1)


model = fill(Seq2SeqTransformer())
optimizer = optim.Adam(model.parameters(), lr=0.001, betas=(0.9, 0.98), eps=1e-9)
scheduler = optim.lr_scheduler.LambdaLR(optimizer, lambda n: min((n + 1) ** -0.5, (n + 1) * 10**-1.5))
loss_fn = nn.CrossEntropyLoss(ignore_index=PAD, label_smoothing=0.1)
lines = [torch.from_numpy(np.r_[SOS, rng.integers(3, 20, n), EOS]) for n in (5, 3, 7, 2)]
src = pad_sequence(lines, padding_value=PAD)
tgt = pad_sequence(lines[::-1], padding_value=PAD)
for step in range(20):
    tgt_input = tgt[:-1, :]
    src_mask, tgt_mask, src_pad, tgt_pad = create_mask(src, tgt_input)
    tgt_mask = tgt_mask == float("-inf")
    logits = model(src, tgt_input, src_mask, tgt_mask, src_pad, tgt_pad, src_pad)
    optimizer.zero_grad()
    loss = loss_fn(logits.reshape(-1, logits.shape[-1]), tgt[1:, :].reshape(-1))
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
    optimizer.step()
    scheduler.step()
    tick()
    if step % 5 == 0:
        print("transformer", loss.item(), scheduler.get_last_lr()[0])

lengths = torch.tensor([len(t) for t in lines])
lstm = fill(nn.LSTM(4, 5, bidirectional=True, batch_first=True))
padded = pad_sequence([torch.ones(len(t), 4) * k for k, t in enumerate(lines)], batch_first=True)
packed = pack_padded_sequence(padded, lengths, batch_first=True, enforce_sorted=False)
out, (h, c) = lstm(packed)
unpacked, sizes = pad_packed_sequence(out, batch_first=True)
print(tuple(unpacked.shape), sizes.tolist(), unpacked.sum().item(), torch.cat((h[-2], h[-1]), dim=1).sum().item())
