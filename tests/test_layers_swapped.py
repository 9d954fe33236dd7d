"""Programs written for torch.nn run with rnnlib's layers in their place, with the same results."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.functional import jacobian
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize
from torch.nn.utils.rnn import pack_padded_sequence, pack_sequence, pad_packed_sequence
from torch.utils.checkpoint import checkpoint

import rnnlib
from rnnlib import layers

KINDS = ("RNN", "GRU", "LSTM")


class Swapped:
    """Looks like torch.nn to a program; its recurrent layers are rnnlib's, on one backend."""

    def __init__(self, backend: str) -> None:
        self.backend = backend

    def __getattr__(self, name: str) -> Any:
        if name not in KINDS:
            return getattr(nn, name)
        base, backend = getattr(rnnlib, name), self.backend
        options = {} if backend == "auto" else {"backend": backend}

        class Layer(base):  # a class, so that programs can inherit from it
            def __init__(self, *arguments: Any, **keywords: Any) -> None:
                super().__init__(*arguments, **keywords, **options)

        return Layer


every_kind = pytest.mark.parametrize("kind", KINDS)
every_backend = pytest.mark.parametrize("backend", layers.BACKENDS)


def compare(program: Any, backend: str, kind: str, **options: Any) -> None:
    """Run a program with torch.nn and with ours, from the same seed, in float64."""
    results = []
    torch.set_default_dtype(torch.float64)
    try:
        for library in (nn, Swapped(backend)):
            torch.manual_seed(7)
            results.append(program(library, kind, **options))
    finally:
        torch.set_default_dtype(torch.float32)
    expected, got = results
    assert len(expected) == len(got)
    for mine, other in zip(got, expected, strict=True):
        assert torch.allclose(torch.as_tensor(mine), torch.as_tensor(other), rtol=1e-9, atol=1e-9)


def classifier(library: Any, kind: str) -> list[Any]:
    """The two-layer bidirectional classifier that every tutorial prints."""

    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(20, 6, padding_idx=0)
            self.rnn = getattr(library, kind)(
                6, 5, num_layers=2, bidirectional=True, dropout=0.5, batch_first=True
            )
            self.dropout = nn.Dropout(0.3)
            self.linear = nn.Linear(10, 3)

        def forward(self, text: Tensor, lengths: Tensor) -> Tensor:
            embedded = self.dropout(self.embedding(text))
            packed = pack_padded_sequence(embedded, lengths, batch_first=True, enforce_sorted=False)
            self.rnn.flatten_parameters()
            _, hidden = self.rnn(packed)
            hidden = hidden[0] if isinstance(hidden, tuple) else hidden
            return self.linear(self.dropout(torch.cat((hidden[-2], hidden[-1]), dim=1)))

    model = Classifier()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    results: list[Any] = []
    for _ in range(5):
        text, lengths = torch.randint(1, 20, (4, 15)), torch.tensor([7, 3, 1, 15])
        loss = F.cross_entropy(model(text, lengths), torch.randint(3, (4,)))
        optimizer.zero_grad()
        loss.backward()
        results.append(nn.utils.clip_grad_norm_(model.parameters(), 0.25))
        optimizer.step()
        results.append(loss.item())
    model.eval()
    with torch.no_grad():
        return [*results, model(text, lengths), *model.state_dict().values()]


def language_model(library: Any, kind: str) -> list[Any]:
    """A stateful language model: the state is carried over and cut off between pieces."""
    embedding, rnn = nn.Embedding(9, 8), getattr(library, kind)(8, 8, 2, dropout=0.2)
    decoder = nn.Linear(8, 9)
    decoder.weight = embedding.weight
    model = nn.ModuleList([embedding, rnn, decoder])
    stream = torch.randint(9, (65, 3))

    def repackage(hidden: Any) -> Any:
        return hidden.detach() if isinstance(hidden, Tensor) else tuple(map(repackage, hidden))

    weight = next(rnn.parameters())
    hidden: Any = weight.new_zeros(2, 3, 8)
    hidden = (hidden, weight.new_zeros(2, 3, 8)) if kind == "LSTM" else hidden
    results: list[Any] = []
    for start in range(0, 60, 15):
        hidden = repackage(hidden)
        output, hidden = rnn(embedding(stream[start : start + 15]), hidden)
        output = F.dropout(output, 0.1)
        loss = F.cross_entropy(
            decoder(output).view(-1, 9), stream[start + 1 : start + 16].reshape(-1)
        )
        model.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(parameter.grad, alpha=-0.5)
        results.append(loss.item())
    with torch.inference_mode():
        model.eval()
        token, hidden = torch.zeros(1, 1, dtype=torch.long), None
        for _ in range(6):
            output, hidden = rnn(embedding(token), hidden)
            token = decoder(output).argmax(-1)
            results.append(token)
    return results


def encoder_decoder(library: Any, kind: str) -> list[Any]:
    """An encoder over packed sentences hands its state to a decoder that runs step by step."""
    encoder = getattr(library, kind)(4, 6)
    decoder = getattr(library, kind)(input_size=4, hidden_size=6)
    head = nn.Linear(6, 4)
    parameters = [*encoder.parameters(), *decoder.parameters(), *head.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9)
    results = []
    for _ in range(3):
        sentences = [torch.randn(length, 4) for length in (2, 15, 3)]
        output, state = encoder(pack_sequence(sentences, enforce_sorted=False))
        padded, lengths = pad_packed_sequence(output)
        x, losses = torch.zeros(1, 3, 4), []
        for _ in range(4):
            y, state = decoder(x, state)
            x = head(y)
            losses.append(x.pow(2).mean())
        loss = torch.stack(losses).sum() + padded.sum() / lengths.sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        results.append(loss.item())
    return results


def subclass(library: Any, kind: str) -> list[Any]:
    """A program's own layer, made from the library's by inheritance."""

    class Last(getattr(library, kind)):
        def __init__(self, *sizes: int) -> None:
            super().__init__(*sizes, batch_first=True)
            self.norm = nn.LayerNorm(self.hidden_size)

        def forward(self, input: Tensor) -> Tensor:  # type: ignore[override]
            output, _ = super().forward(input)
            return self.norm(output[:, -1])

    model = nn.Sequential(Last(3, 4), nn.Linear(4, 2))
    for module in model.modules():
        if isinstance(module, nn.RNN | nn.GRU | nn.LSTM):
            for name, weight in module.named_parameters():
                if "weight_hh" in name:
                    nn.init.orthogonal_(weight)
                elif name.startswith("bias"):
                    nn.init.zeros_(weight)
    seen = []
    model[0].register_forward_hook(lambda *arguments: seen.append(arguments[2].detach()))
    loss = model(torch.randn(5, 16, 3)).pow(2).sum()
    loss.backward()
    vector = nn.utils.parameters_to_vector(p.grad for p in model.parameters())
    return [loss.item(), vector, *seen]


def writes_on_outputs(library: Any, kind: str) -> list[Any]:
    """In-place operations on what a layer returned."""
    rnn = getattr(library, kind)(3, 4, 2)
    output, state = rnn(torch.randn(15, 2, 3))
    if kind != "LSTM":  # torch's own LSTM does not allow it
        output[1] = 0
        output = nn.ReLU(inplace=True)(output.mul_(2))
    state = state[0] if kind == "LSTM" else state
    state += 1
    (output.sum() + state.pow(2).sum()).backward()
    return [output, state, *(p.grad for p in rnn.parameters())]


def gradient_penalty(library: Any, kind: str) -> list[Any]:
    """A critic whose gradient to its input is pushed towards length one."""
    critic, head = getattr(library, kind)(3, 4), nn.Linear(4, 1)
    optimizer = torch.optim.RMSprop([*critic.parameters(), *head.parameters()], lr=0.01)
    results = []
    for _ in range(3):
        x = torch.randn(14, 2, 3, requires_grad=True)
        score = head(critic(x)[0][-1]).sum()
        (slope,) = torch.autograd.grad(score, x, create_graph=True)
        loss = score + (slope.norm(2, dim=(0, 2)) - 1).pow(2).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        results.append(loss.item())
    return results


def inference(library: Any, kind: str) -> list[Any]:
    rnn = copy.deepcopy(getattr(library, kind)(3, 4, 2, bidirectional=True).eval())
    x = torch.randn(5, 2, 3)
    with torch.no_grad():
        results = [rnn(x)[0], rnn(x[:, 0])[0], rnn(x.transpose(0, 1))[0]]
    assert not any(result.requires_grad for result in results)
    for parameter in rnn.parameters():
        parameter.requires_grad_(False)
    x.requires_grad_()
    rnn(x)[0].sum().backward()
    return [*results, x.grad]


def gradient_checkpointing(library: Any, kind: str) -> list[Any]:
    """Saved tensors are given out once, and dropout is drawn again in the recomputation."""
    rnn = getattr(library, kind)(3, 4, 3, dropout=0.5)
    x = torch.randn(20, 2, 3, requires_grad=True)
    output, _ = checkpoint(rnn, x, use_reentrant=False)
    output.pow(2).sum().backward()
    return [output, x.grad, *(p.grad for p in rnn.parameters())]


def owns_its_outputs(library: Any, kind: str) -> list[Any]:
    """A hook set before a write sees the gradient after it; `detach_` refuses views."""
    rnn = getattr(library, kind)(3, 4)
    output, _ = rnn(torch.randn(20, 2, 3))
    output.register_hook(lambda gradient: gradient * 3)
    output.mul_(2).sum().backward()
    packed, _ = rnn(pack_sequence([torch.randn(n, 3) for n in (20, 5)]))
    packed.data.detach_()
    rnn.batch_first = kind != "LSTM"  # whose kernel in torch.nn returns a view there
    output, _ = rnn(torch.randn(2, 20, 3))
    return [packed.data, output.detach_(), *(p.grad for p in rnn.parameters())]


class Noise(nn.Module):
    """A weight that is drawn anew each time somebody looks at it."""

    def forward(self, weight: Tensor) -> Tensor:
        return F.dropout(weight, 0.5, self.training)


def computed_weights(library: Any, kind: str) -> list[Any]:
    """Looking once more than torch.nn does would change the weights that come after."""
    results = []
    for length in (5, 20):  # "auto" takes another way for long sequences
        rnn = getattr(library, kind)(3, 4, 2)
        parametrizations.spectral_norm(rnn, "weight_hh_l0")
        parametrize.register_parametrization(rnn, "weight_ih_l1", Noise())
        for _ in range(2):
            output, _ = rnn(torch.randn(length, 2, 3))
            output.sum().backward()
            results.append(output)
        results += [p.grad for p in rnn.parameters()]
    return results


PROGRAMS = [
    classifier,
    language_model,
    encoder_decoder,
    subclass,
    writes_on_outputs,
    inference,
    gradient_checkpointing,
    owns_its_outputs,
    computed_weights,
]


@every_backend
@every_kind
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_program_gives_the_same_results(program, kind, backend):
    compare(program, backend, kind)


@pytest.mark.parametrize("backend", ["auto", "loop", "library"])
@every_kind
def test_gradient_penalty_gives_the_same_results(kind, backend):
    compare(gradient_penalty, backend, kind)


def many_gradients(library: Any, kind: str) -> list[Any]:
    """A Jacobian in one batched backward pass."""
    rnn = getattr(library, kind)(3, 4)
    x = torch.randn(14, 2, 3)
    return [jacobian(lambda x: rnn(x)[0][-1], x, vectorize=True)]


@pytest.mark.parametrize("backend", ["auto", "loop"])
@every_kind
def test_batched_gradients_are_the_same(kind, backend):
    if kind == "LSTM" and backend == "auto":
        pytest.skip("this is torch.nn's own kernel")
    compare(many_gradients, backend, kind)


@every_kind
def test_fused_refuses_batched_gradients(kind):
    torch.manual_seed(0)
    with pytest.raises(RuntimeError, match='use backend="loop"'):
        many_gradients(Swapped("fused"), kind)


def test_a_computed_weight_still_checks_its_input():
    layer = rnnlib.GRU(3, 4, backend="fused")
    parametrizations.weight_norm(layer, "weight_ih_l0")
    with pytest.raises(ValueError, match="input has dtype"):
        layer(torch.randn(5, 2, 3, dtype=torch.float64))


@every_backend
@every_kind
def test_a_checkpoint_goes_on_in_the_other_library(kind, backend, tmp_path):
    """Half of the training with one library, saved, then the other half with the other."""
    x, target = torch.randn(16, 4, 3), torch.randn(16, 4, 5)

    def make(library: Any) -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(2)
        model = getattr(library, kind)(3, 5, 2)
        return model, torch.optim.Adam(model.parameters(), lr=0.02)

    def train(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        for _ in range(3):
            optimizer.zero_grad()
            F.mse_loss(model(x)[0], target).backward()
            optimizer.step()

    libraries = {"theirs": nn, "ours": Swapped(backend)}
    whole = make(nn)
    train(*whole)
    train(*whole)
    expected = whole[0](x)[0]
    for first, second in (("theirs", "ours"), ("ours", "theirs")):
        model, optimizer = make(libraries[first])
        train(model, optimizer)
        torch.save(
            {"model": model.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "c"
        )
        saved = torch.load(tmp_path / "c", weights_only=True)
        model, optimizer = make(libraries[second])
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        train(model, optimizer)
        assert torch.allclose(model(x)[0], expected, atol=1e-5)


@every_kind
def test_layouts_of_results_are_torchs(kind):
    """A program that calls .view or .contiguous finds the strides that it finds with torch.nn."""
    for options in ({}, {"batch_first": True}):
        theirs, ours = getattr(nn, kind)(3, 4, **options), getattr(rnnlib, kind)(3, 4, **options)
        x = torch.randn(20, 20, 3)
        assert ours(x)[0].stride() == theirs(x)[0].stride()
        assert ours(x)[0].is_contiguous() == theirs(x)[0].is_contiguous()


@every_kind
@pytest.mark.filterwarnings("ignore")  # tracing warns about itself and about shapes
def test_a_traced_program_runs(kind):
    layer = nn.Sequential(getattr(rnnlib, kind)(3, 4))
    x = torch.randn(5, 2, 3)
    traced = torch.jit.trace(layer, x, check_trace=False)
    assert torch.allclose(traced(x)[0], layer(x)[0], atol=1e-6)
