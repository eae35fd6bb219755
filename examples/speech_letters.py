"""Letters of real speech from scratch: a small recurrent network learns 15 minutes of telephone prompts with CTC.

The sound is that of Asterisk's prompts, one speaker, 8 kHz. On Debian or Ubuntu, without installing anything:

    apt-get download asterisk-core-sounds-en-wav asterisk-core-sounds-en
    for f in asterisk-core-sounds-en*.deb; do dpkg-deb -x $f sounds; done
    python examples/speech_letters.py sounds

One prompt in eight is kept apart, 70 of them, and no text of theirs is trained on. After 40 epochs 0.29 of their
letters are wrong, and 0.66 of their words: half an hour on two cores that others were using too.
"""

import argparse
import gzip
import re
import time
from pathlib import Path

import numpy as np

import gradloom as gl
from gradloom import nn, optim
from gradloom.audio import ctc_beam_search, load, transforms
from gradloom.audio.functional import resample
from gradloom.audio.models import DeepSpeech2
from gradloom.metrics import CharErrorRate, WordErrorRate

options = argparse.ArgumentParser()
options.add_argument("folder", type=Path, help="where both packages were unpacked")
options.add_argument("--epochs", type=int, default=40)
options.add_argument("--rate", type=float, default=2e-3, help="the highest learning rate")
options.add_argument("--hidden", type=int, default=192)
options.add_argument("--clips", type=int, help="prompts to use, for a quick look")
args = options.parse_args()
gl.manual_seed(0)
rng = np.random.default_rng(0)

LETTERS = " abcdefghijklmnopqrstuvwxyz'"  # class 0 is the blank
NUMBERS = "zero one two three four five six seven eight nine".split()
FRAMES = (100, 160, 250, 400, 650, 1000)  # clips are filled up to one of these, so that few programs are compiled


def spelled(text):
    """A transcript in small letters, digits as words."""
    text = re.sub(r"\d", lambda m: f" {NUMBERS[int(m[0])]} ", text.lower().replace("’", "'"))
    return " ".join(re.sub(r"[^a-z' ]", " ", text).split())


def prompts(folder):
    """Names and transcripts; what is no speech, has no text or lasts longer than ten seconds is left out."""
    (texts,) = folder.rglob("core-sounds-en.txt.gz")
    (sounds,) = {p.parent for p in folder.rglob("vm-goodbye.wav")}
    for line in gzip.open(texts, "rt", encoding="utf-8"):
        name, _, text = line.partition(":")
        path = sounds / f"{name.strip()}.wav"
        if not line.startswith(";") and "[" not in text and "silence" not in name and path.exists() and spelled(text):
            sound, rate = load(path)
            if rate * 0.2 < sound.shape[1] < rate * FRAMES[-1] / 110:
                yield spelled(text), sound[0], rate


mel = transforms.MelSpectrogram(8000, n_fft=256, win_length=200, hop_length=80, n_mels=40)


def features(sound, speed=10):
    """(frames, 40): logarithms of mel bands, each with mean 0 and variance 1; of sound played at speed / 10.

    Sound is filled up to whole seconds first, so that programs are compiled for ten lengths and not for all.
    """
    length = sound.shape[0]
    sound = resample(nn.functional.pad(sound, (0, -length % 8000)), speed, 10)
    bands = gl.log(mel(sound) + 1e-6).numpy().T[: 1 + length * 10 // speed // 80]
    return ((bands - bands.mean(0)) / (bands.std(0) + 1e-3)).astype("f")


start = time.time()
clips = list(prompts(args.folder))[: args.clips]
texts = sorted({text for text, _, _ in clips})
held_out = set(rng.permutation(texts)[: len(texts) // 8])
test = [(text, features(sound)) for text, sound, _ in clips if text in held_out]
train = []
for text, sound, _ in clips:
    if text not in held_out:  # and a tenth slower and a tenth quicker
        train.append((text, [features(sound, s) for s in (10, 9, 11)]))
seconds = sum(sound.shape[0] / rate for text, sound, rate in clips if text not in held_out)
print(
    f"{len(train)} prompts to learn from, {seconds / 60:.0f} min, and {len(test)} others; {time.time() - start:.0f} s"
)


def batches(frames=4000):
    """Features (batch, frames, 40), their lengths, targets and their lengths; of clips of similar length."""
    groups = {n: [] for n in FRAMES}
    for text, speeds in train:
        f = speeds[rng.integers(3)]
        groups[next(n for n in FRAMES if n >= len(f))].append((text, f))
    made = []
    for n, group in groups.items():
        size = max(2, frames // n)
        group = [group[k] for k in rng.permutation(len(group))]
        made += [(n, size, group[k : k + size]) for k in range(0, len(group), size)]
    for n, size, group in (made[k] for k in rng.permutation(len(made))):
        group = [group[k % len(group)] for k in range(size)]  # the last one is filled up with its own
        x = np.zeros((size, n, 40), "f")
        y = np.zeros((size, n // 3), "i8")
        for row, (text, f) in enumerate(group):
            x[row, : len(f)] = f
            y[row, : len(text)] = [1 + LETTERS.index(c) for c in text]
        lengths = np.array([len(f) for _, f in group])
        yield gl.tensor(x), gl.tensor(lengths), gl.tensor(y), gl.tensor(np.array([len(t) for t, _ in group]))


model = DeepSpeech2(40, 1 + len(LETTERS), args.hidden, layers=3, stride=3, kernel=11, dropout=0.3)
loss_fn = nn.CTCLoss(zero_infinity=True)
mask = transforms.SpecAugment(2, 20, 2, 8, zero_masking=True)
optimizer = optim.AdamW(model.parameters(), lr=args.rate, weight_decay=1e-2)
steps = 5 + sum(1 for _ in batches())  # an epoch's, a few more or less
schedule = optim.lr_scheduler.OneCycleLR(optimizer, args.rate, total_steps=steps * args.epochs, pct_start=0.2)


def read(beams=None):
    """Character and word error rates of the prompts kept apart, and some of what was heard."""
    model.eval()
    heard = []
    with gl.no_grad():
        for n in FRAMES:
            for text, f in test:
                if next(m for m in FRAMES if m >= len(f)) == n:
                    x = np.zeros((1, n, 40), "f")
                    x[0, : len(f)] = f
                    scores, lengths = model(gl.tensor(x), [len(f)])
                    if beams:
                        labels = ctc_beam_search(scores, lengths, beam_size=beams)[0][0][0]
                    else:
                        (labels,) = gl.audio.ctc_greedy(scores, lengths)
                    heard.append((text, " ".join("".join(LETTERS[k - 1] for k in labels).split())))
    model.train()
    letters, words = CharErrorRate(), WordErrorRate()
    for metric in (letters, words):
        metric.update([h for _, h in heard], [t for t, _ in heard])
    return float(letters.compute()), float(words.compute()), heard


start = time.time()
for epoch in range(1, args.epochs + 1):
    total, count = 0.0, 0
    for x, lengths, y, sizes in batches():
        optimizer.zero_grad()
        x = mask(x.transpose(1, 2)).transpose(1, 2)
        scores, frames = model(x, lengths)
        loss = loss_fn(scores.transpose(0, 1), y, frames, sizes)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        if schedule.last_epoch < steps * args.epochs:
            schedule.step()
        total, count = total + loss.item(), count + 1
    line = f"epoch {epoch:3}/{args.epochs}  loss {total / count:.3f}  {time.time() - start:4.0f} s"
    if epoch % 5 == 0 or epoch == args.epochs:
        letters, words, _ = read()
        line += f"  of the prompts kept apart: letters wrong {letters:.3f}, words wrong {words:.3f}"
    print(line, flush=True)
letters, words, heard = read(beams=16)
print(f"with beams: letters wrong {letters:.3f}, words wrong {words:.3f}")
for text, found in heard[:: max(1, len(heard) // 8)]:
    print(f"  said   {text}\n  heard  {found}")
