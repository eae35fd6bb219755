"""Language models: GPT-2 and BERT with Hugging Face's names of weights, AWD-LSTM with fastai's; and others."""

from gradloom.text.models.awd_lstm import AWDLSTM, NTASGD, AWDLanguageModel
from gradloom.text.models.bert import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
)
from gradloom.text.models.classifier import LSTMClassifier
from gradloom.text.models.gpt2 import GPT2Config, GPT2LMHeadModel, GPT2Model
from gradloom.text.models.sentence import SentenceEncoder
from gradloom.text.models.seq2seq import Seq2Seq
from gradloom.text.models.translation import TranslationTransformer

__all__ = [
    "AWDLSTM", "NTASGD", "AWDLanguageModel", "BertConfig", "BertForMaskedLM", "BertForSequenceClassification",
    "BertModel", "GPT2Config", "GPT2LMHeadModel", "GPT2Model", "LSTMClassifier", "SentenceEncoder", "Seq2Seq",
    "TranslationTransformer",
]  # fmt: skip
