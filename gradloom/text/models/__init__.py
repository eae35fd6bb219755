"""Language models: GPT-2, BERT (both with Hugging Face's names of weights), and the Transformer for translation."""

from gradloom.text.models.bert import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
)
from gradloom.text.models.gpt2 import GPT2Config, GPT2LMHeadModel, GPT2Model
from gradloom.text.models.sentence import SentenceEncoder
from gradloom.text.models.translation import TranslationTransformer

__all__ = [
    "BertConfig", "BertForMaskedLM", "BertForSequenceClassification", "BertModel", "GPT2Config", "GPT2LMHeadModel",
    "GPT2Model", "SentenceEncoder", "TranslationTransformer",
]  # fmt: skip
