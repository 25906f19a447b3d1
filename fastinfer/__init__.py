"""Local batch inference for MXNet Module models, in the bytes of SageMaker Batch Transform."""
