"""The book's trained character LSTM: one layer of 256 units on the State of the Union addresses.

The text, the split and the vocabulary are those of `experiments.character_rnn`: the addresses of
1900 to 1929, whole addresses held out. The forget gates start with a bias of 1. Training reads the
training text four times, in 32 streams, 64 characters at a time, with the state carried on.

The peak of the learning rate was chosen among 0.003, 0.006 and 0.012 on the validation years, after
reading half of the training text once. The test years were read once, for the figures.

    model = character_lstm.load()
    scores, state = model(ids)  # ids (T, B), scores (T, B, V), state (h, c), each (1, B, H)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from experiments.character_rnn import cross_entropy, load_texts
from rnnlib import records
from rnnlib.data import text

SEED, EMBEDDING_SIZE, HIDDEN_SIZE, VOCABULARY_SIZE = 0, 64, 256, 84
PASSES, STREAMS, LENGTH, PEAK_RATE, LARGEST_NORM = 4, 32, 64, 0.012, 1.0

State = tuple[Tensor, Tensor]


class CharacterLSTM(nn.Module):
    """Embedding, one LSTM layer, and a score for every character that may come next.

    Args:
        V: characters in the vocabulary.
        E: numbers an embedding.
        H: units.
    """

    def __init__(
        self, V: int = VOCABULARY_SIZE, E: int = EMBEDDING_SIZE, H: int = HIDDEN_SIZE
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(V, E)
        self.lstm = nn.LSTM(E, H)
        self.readout = nn.Linear(H, V)
        with torch.no_grad():  # the two biases of torch add up: one gets all, the other nothing
            self.lstm.bias_ih_l0[H : 2 * H] = 1.0  # type: ignore[operator]
            self.lstm.bias_hh_l0[H : 2 * H] = 0.0  # type: ignore[operator]

    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Read ids (T, B); return scores (T, B, V) and the last state (h, c), each (1, B, H)."""
        h, state = self.lstm(self.embedding(x), state)  # (T, B, H)
        return self.readout(h), state

    def step(self, x_t: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Read one id of each stream (B,); return scores (B, V) and the new state."""
        scores, state = self(x_t[None], state)
        return scores[0], state


@torch.no_grad()
def bits_per_character(model: CharacterLSTM, ids: Tensor) -> float:
    """Read a text (N,) in `STREAMS` streams, and say how many bits each character cost."""
    nats, count, state = 0.0, 0, None
    for x, targets in text.contiguous_streams(ids, STREAMS, LENGTH):
        scores, state = model(x, state)
        counted = int((targets != text.IGNORED).sum())
        nats += cross_entropy(scores, targets).item() * counted
        count += counted
    return text.bits_per_character(nats / count)


def learn(model: CharacterLSTM, ids: Tensor, passes: int, peak_rate: float) -> None:
    """Read a text (N,) `passes` times, and learn on the way."""
    batches = list(text.contiguous_streams(ids, STREAMS, LENGTH))
    optimiser = torch.optim.Adam(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, peak_rate, total_steps=passes * len(batches), pct_start=0.1
    )
    for _ in range(passes):
        state = None
        for x, targets in batches:
            scores, (h, c) = model(x, state)
            state = h.detach(), c.detach()  # the next batch starts here, without the gradient
            optimiser.zero_grad()
            cross_entropy(scores, targets).backward()
            nn.utils.clip_grad_norm_(model.parameters(), LARGEST_NORM, error_if_nonfinite=True)
            optimiser.step()
            schedule.step()


def train(passes: int = PASSES) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Train the model.

    Returns:
        its state dict, and the figures: "bits_training" (the last 200,000 characters of the
        training text), "bits_validation" and "bits": bits a character, the last on the test years.
    """
    texts = load_texts()
    torch.manual_seed(SEED)
    model = CharacterLSTM(texts.vocabulary.size)
    learn(model, texts.training, passes, PEAK_RATE)
    return model.state_dict(), {
        "bits_training": bits_per_character(model, texts.training[-200_000:]),
        "bits_validation": bits_per_character(model, texts.validation),
        "bits": bits_per_character(model, texts.test),
    }


def load() -> CharacterLSTM:
    """Return the trained model that comes with the library.

    Raises:
        RecordError: the weights are missing or damaged.
    """
    model = CharacterLSTM()
    model.load_state_dict(records.load_weights("character_lstm")[0])
    return model.eval()
