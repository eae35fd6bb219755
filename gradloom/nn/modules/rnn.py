"""The names of `torch.nn.modules.rnn`."""

from gradloom.nn.recurrent import GRU, LSTM, RNN, RNNBase
from gradloom.nn.recurrent_cells import GRUCell, LSTMCell, RNNCell, RNNCellBase

__all__ = ["GRU", "GRUCell", "LSTM", "LSTMCell", "RNN", "RNNBase", "RNNCell", "RNNCellBase"]
