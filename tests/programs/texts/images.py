"""Own data sets and transforms, a spatial transformer, super resolution, siamese."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from program_tools import fill, tick
from torch.utils.data import DataLoader, Dataset, Subset, random_split


class Rescale:
    def __init__(self, factor):
        self.factor = factor

    def __call__(self, sample):
        return {"image": sample["image"] * self.factor, "landmarks": sample["landmarks"] * self.factor}


class ToTensor:
    def __call__(self, sample):
        image = sample["image"].transpose((2, 0, 1))
        return {"image": torch.from_numpy(image), "landmarks": torch.from_numpy(sample["landmarks"])}


class Faces(Dataset):
    def __init__(self, n, transform=None):
        rng = np.random.default_rng(0)
        self.images = rng.random((n, 12, 12, 3), dtype=np.float32)
        self.landmarks, self.transform = rng.random((n, 4, 2)), transform

    def __len__(self):
        return len(self.images)

    def __getitem__(self, idx):
        if torch.is_tensor(idx):
            idx = idx.tolist()
        sample = {"image": self.images[idx], "landmarks": self.landmarks[idx]}
        return self.transform(sample) if self.transform else sample


faces = Faces(10, lambda sample: ToTensor()(Rescale(2.0)(sample)))
for i_batch, batch in enumerate(DataLoader(faces, batch_size=4, shuffle=False, num_workers=0)):
    print(
        i_batch,
        tuple(batch["image"].size()),
        tuple(batch["landmarks"].size()),
        batch["landmarks"].dtype == torch.float64,
        batch["image"].sum().item(),
    )
first, second = random_split(faces, [7, 3], generator=torch.Generator().manual_seed(0))
print(len(first), len(second), len(Subset(faces, [1, 2])))


class STN(nn.Module):
    def __init__(self):
        super().__init__()
        self.localization = nn.Sequential(nn.Conv2d(1, 4, 5), nn.MaxPool2d(2, stride=2), nn.ReLU(True))
        self.fc_loc = nn.Sequential(nn.Linear(4 * 6 * 6, 8), nn.ReLU(True), nn.Linear(8, 3 * 2))
        self.fc_loc[2].weight.data.zero_()
        self.fc_loc[2].bias.data.copy_(torch.tensor([1, 0, 0, 0, 1, 0], dtype=torch.float))
        self.head = nn.Linear(256, 5)

    def stn(self, x):
        theta = self.fc_loc(self.localization(x).view(-1, 4 * 6 * 6)).view(-1, 2, 3)
        grid = F.affine_grid(theta, x.size(), align_corners=False)
        return F.grid_sample(x, grid, align_corners=False)

    def forward(self, x):
        return F.log_softmax(self.head(self.stn(x).flatten(1)), dim=1)


class SuperResolution(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 8, 5, padding=2), nn.Conv2d(8, 4, 3, 1, 1)
        self.shuffle = nn.PixelShuffle(2)

    def forward(self, x):
        return self.shuffle(self.conv2(F.relu(self.conv1(x))))


class Siamese(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.fc = nn.Sequential(nn.Linear(2 * 4 * 14 * 14, 8), nn.ReLU(inplace=True), nn.Linear(8, 1))
        self.conv.apply(self.init_weights)

    def init_weights(self, m):
        if isinstance(m, nn.Linear):
            torch.nn.init.xavier_uniform_(m.weight)
            m.bias.data.fill_(0.01)

    def forward(self, a, b):
        both = torch.cat([self.conv(t).view(t.size()[0], -1) for t in (a, b)], 1)
        return torch.sigmoid(self.fc(both))


rng = np.random.default_rng(1)
stn, sr, siamese = fill(STN(), 1, 0.05), fill(SuperResolution(), 2), fill(Siamese(), 3)
optimizer = optim.SGD(
    [{"params": stn.parameters()}, {"params": sr.parameters(), "lr": 1e-3}, {"params": siamese.parameters()}], lr=0.01
)
for step in range(20):
    x = torch.from_numpy(rng.random((4, 1, 16, 16), dtype=np.float32))
    optimizer.zero_grad()
    a = F.nll_loss(stn(x), torch.tensor([0, 1, 2, 3]))
    small = F.interpolate(x, scale_factor=0.5, mode="bilinear", align_corners=False)
    b = F.mse_loss(sr(small), x)
    c = F.binary_cross_entropy(siamese(x, x.flip(0)).squeeze(), torch.tensor([0.0, 1.0, 1.0, 0.0]))
    (a + b + c).backward()
    optimizer.step()
    tick()
    if step % 5 == 0:
        print(a.item(), b.item(), c.item(), 10 * np.log10(1 / b.item()))
