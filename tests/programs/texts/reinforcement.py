"""REINFORCE and actor-critic on a small walk; a DQN with replay memory and a soft-updated target."""

import random
from collections import deque, namedtuple

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from program_tools import fill, tick
from torch.distributions import Categorical

SavedAction = namedtuple("SavedAction", ["log_prob", "value"])
Transition = namedtuple("Transition", ("state", "action", "next_state", "reward"))


class Walk:
    def reset(self):
        self.place, self.age = 0.0, 0
        return np.array([self.place, self.age / 10], dtype=np.float32)

    def step(self, action):
        self.place += 1 if action == 1 else -1
        self.age += 1
        return np.array([self.place, self.age / 10], dtype=np.float32), -abs(self.place - 3), self.age >= 10


class Policy(nn.Module):
    def __init__(self):
        super().__init__()
        self.affine1 = nn.Linear(2, 16)
        self.action_head = nn.Linear(16, 2)
        self.value_head = nn.Linear(16, 1)
        self.saved_actions, self.rewards = [], []

    def forward(self, x):
        x = F.relu(self.affine1(x))
        return F.softmax(self.action_head(x), dim=-1), self.value_head(x)


env, rng = Walk(), np.random.default_rng(0)
for critic in (False, True):
    model = fill(Policy())
    optimizer = optim.Adam(model.parameters(), lr=3e-2)
    eps = np.finfo(np.float32).eps.item()
    for episode in range(12):
        state, done, ep_reward = env.reset(), False, 0
        while not done:
            probs, value = model(torch.from_numpy(state).float())
            m = Categorical(probs)
            action = torch.tensor(int(rng.random() > probs[0].item()))
            model.saved_actions.append(SavedAction(m.log_prob(action), value))
            state, reward, done = env.step(action.item())
            model.rewards.append(reward)
            ep_reward += reward
        R, returns = 0, deque()
        for r in model.rewards[::-1]:
            R = r + 0.99 * R
            returns.appendleft(R)
        returns = torch.tensor(returns)
        returns = (returns - returns.mean()) / (returns.std() + eps)
        policy_losses, value_losses = [], []
        for (log_prob, value), R in zip(model.saved_actions, returns):
            advantage = R - value.item() if critic else R
            policy_losses.append((-log_prob * advantage).reshape(1))
            if critic:
                value_losses.append(F.smooth_l1_loss(value, torch.tensor([R])))
        optimizer.zero_grad()
        loss = torch.cat(policy_losses).sum()
        if critic:
            loss = loss + torch.stack(value_losses).sum()
        loss.backward()
        optimizer.step()
        tick()
        del model.rewards[:]
        del model.saved_actions[:]
        if episode % 3 == 0:
            print(critic, episode, loss.item(), ep_reward)


class DQN(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer1 = nn.Linear(2, 16)
        self.layer2 = nn.Linear(16, 2)

    def forward(self, x):
        return self.layer2(F.relu(self.layer1(x)))


policy_net, target_net = fill(DQN()), DQN()
target_net.load_state_dict(policy_net.state_dict())
optimizer = optim.AdamW(policy_net.parameters(), lr=1e-3, amsgrad=True)
memory = deque(maxlen=200)
random.seed(1)
for episode in range(8):
    state = torch.tensor(env.reset(), dtype=torch.float32).unsqueeze(0)
    done = False
    while not done:
        if random.random() > 0.3:
            with torch.no_grad():
                action = policy_net(state).max(1).indices.view(1, 1)
        else:
            action = torch.tensor([[random.randrange(2)]], dtype=torch.long)
        observation, reward, done = env.step(action.item())
        next_state = None if done else torch.tensor(observation, dtype=torch.float32).unsqueeze(0)
        memory.append(Transition(state, action, next_state, torch.tensor([float(reward)])))
        state = next_state
        if len(memory) < 16:
            continue
        batch = Transition(*zip(*random.sample(memory, 16)))
        non_final_mask = torch.tensor(tuple(s is not None for s in batch.next_state), dtype=torch.bool)
        non_final_next_states = torch.cat([s for s in batch.next_state if s is not None])
        state_action_values = policy_net(torch.cat(batch.state)).gather(1, torch.cat(batch.action))
        next_state_values = torch.zeros(16)
        with torch.no_grad():
            next_state_values[non_final_mask] = target_net(non_final_next_states).max(1).values
        expected = next_state_values * 0.99 + torch.cat(batch.reward)
        loss = nn.SmoothL1Loss()(state_action_values, expected.unsqueeze(1))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_value_(policy_net.parameters(), 100)
        optimizer.step()
        target_sd, policy_sd = target_net.state_dict(), policy_net.state_dict()
        for key in policy_sd:
            target_sd[key] = policy_sd[key] * 0.005 + target_sd[key] * 0.995
        target_net.load_state_dict(target_sd)
        tick()
    if len(memory) >= 16:
        print("dqn", episode, loss.item())
