"""``torch.autograd.anomaly_mode``'s names."""

from gradloom.debug import detect_anomaly, set_detect_anomaly

__all__ = ["detect_anomaly", "set_detect_anomaly"]
