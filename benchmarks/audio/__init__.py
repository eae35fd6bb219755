"""Whisper tiny on 10 s of sound, beside the peers: ``python -m benchmarks.audio --help``."""
