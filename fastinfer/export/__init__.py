"""Saved models as ONNX, with a certificate that both give the same."""
