"""Text to token ids and back: WordPiece (BERT's) and byte-level BPE (GPT-2's, RoBERTa's, Whisper's)."""

from gradloom.text.tokenizers.base import AddedToken, Template, Tokenizer
from gradloom.text.tokenizers.byte_level import ByteLevelBPETokenizer
from gradloom.text.tokenizers.files import from_file, from_folder
from gradloom.text.tokenizers.wordpiece import WordPieceTokenizer

__all__ = [
    "AddedToken", "ByteLevelBPETokenizer", "Template", "Tokenizer", "WordPieceTokenizer", "from_file", "from_folder",
]  # fmt: skip
