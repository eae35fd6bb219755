"""Per-sample gradients, ensembles, Jacobians, Hessians and tangent kernels by torch.func."""

import copy

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from program_tools import fill
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, stack_module_state, vjp, vmap


class SimpleCNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3, 1)
        self.fc1 = nn.Linear(4 * 9, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        return F.log_softmax(self.fc1(torch.flatten(x, 1)), dim=1)


def loss_fn(predictions, targets):
    return F.nll_loss(predictions, targets)


rng = np.random.default_rng(0)
data = torch.from_numpy(rng.normal(size=(6, 1, 8, 8)).astype("f"))
targets = torch.from_numpy(rng.integers(0, 10, 6))
model = fill(SimpleCNN())
params = {k: v.detach() for k, v in model.named_parameters()}
buffers = {k: v.detach() for k, v in model.named_buffers()}


def compute_loss(params, buffers, sample, target):
    predictions = functional_call(model, (params, buffers), (sample.unsqueeze(0),))
    return loss_fn(predictions, target.unsqueeze(0))


ft_compute_grad = grad(compute_loss)
ft_compute_sample_grad = vmap(ft_compute_grad, in_dims=(None, None, 0, 0))
per_sample = ft_compute_sample_grad(params, buffers, data, targets)
for name, value in per_sample.items():
    print(name, tuple(value.shape), value.norm().item())
    one = torch.autograd.grad(loss_fn(model(data[2:3]), targets[2:3]), dict(model.named_parameters())[name])[0]
    print(torch.allclose(one, value[2], atol=1e-5))

models = [fill(SimpleCNN(), i) for i in range(3)]
stacked_params, stacked_buffers = stack_module_state(models)
base_model = copy.deepcopy(models[0])


def fmodel(params, buffers, x):
    return functional_call(base_model, (params, buffers), (x,))


together = vmap(fmodel, in_dims=(0, 0, None))(stacked_params, stacked_buffers, data)
print(tuple(together.shape), together.sum().item())
print(torch.allclose(together, torch.stack([m(data) for m in models]), atol=1e-5))
minibatches = torch.stack([data, data + 1, data * 2])
print(vmap(fmodel)(stacked_params, stacked_buffers, minibatches).sum().item())


def predict(weight, bias, x):
    return F.linear(x, weight, bias).tanh()


D = 5
weight, bias, x = (torch.from_numpy(rng.normal(size=s).astype("f")) for s in ((D, D), (D,), (D,)))
xp = x.clone().requires_grad_()
unit_vectors = torch.eye(D)
rows = torch.stack([torch.autograd.grad(predict(weight, bias, xp), xp, v)[0] for v in unit_vectors])
_, vjp_fn = vjp(lambda x: predict(weight, bias, x), x)
(ft_jacobian,) = vmap(vjp_fn)(unit_vectors)
print(torch.allclose(rows, ft_jacobian), ft_jacobian.sum().item())
both = jacrev(predict, argnums=(0, 1))(weight, bias, x)
forward = jacfwd(predict, argnums=(0, 1))(weight, bias, x)
print([tuple(j.shape) for j in both], [torch.allclose(p, q, atol=1e-6) for p, q in zip(both, forward)])
print(
    hessian(predict, argnums=2)(weight, bias, x).sum().item(),
    jacfwd(jacrev(predict, argnums=2), argnums=2)(weight, bias, x).norm().item(),
)
batch_x = torch.from_numpy(rng.normal(size=(4, D)).astype("f"))
print(vmap(jacrev(predict, argnums=2), in_dims=(None, None, 0))(weight, bias, batch_x).norm().item())
value, tangent = jvp(lambda x: predict(weight, bias, x), (x,), (torch.ones(D),))
print(value.sum().item(), tangent.sum().item())


def fnet_single(params, x):
    return functional_call(model, params, (x.unsqueeze(0),)).squeeze(0)


def empirical_ntk(fnet_single, params, x1, x2):
    jac1 = vmap(jacrev(fnet_single), (None, 0))(params, x1)
    jac2 = vmap(jacrev(fnet_single), (None, 0))(params, x2)
    jac1 = [j.flatten(2) for j in jac1.values()]
    jac2 = [j.flatten(2) for j in jac2.values()]
    return torch.stack([torch.einsum("Naf,Mbf->NMab", j1, j2) for j1, j2 in zip(jac1, jac2)]).sum(0)


def ntk_vps(func, params, x1, x2):
    def get_ntk(x1, x2):
        def func_x1(params):
            return func(params, x1)

        def func_x2(params):
            return func(params, x2)

        output, vjp_fn = vjp(func_x1, params)

        def get_ntk_slice(vec):
            vjps = vjp_fn(vec)
            _, jvps = jvp(func_x2, (params,), vjps)
            return jvps

        basis = torch.eye(output.numel(), dtype=output.dtype, device=output.device).view(output.numel(), -1)
        return vmap(get_ntk_slice)(basis)

    return vmap(vmap(get_ntk, (None, 0)), (0, None))(x1, x2)


ntk = empirical_ntk(fnet_single, params, data[:3], data[3:])
print(tuple(ntk.shape), ntk.norm().item())
print(ntk_vps(fnet_single, params, data[:3], data[3:]).norm().item())
