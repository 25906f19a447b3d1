"""The example: the notebook's network, its data, its training and its digits.

Its constants (ten classes, the hidden layers, the names of files, the prefix of checkpoints) are those of the notebook and
of SageMaker's sample set. Nothing outside this package depends on them.
"""
