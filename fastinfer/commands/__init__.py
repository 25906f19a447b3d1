"""The commands: options and messages only."""

# What each command does; its module here has its name.
COMMANDS = {
    "transform": "run a model over the records of files or objects",
    "train": "train the MNIST example",
    "serve": "answer HTTP requests as the container of a SageMaker endpoint does",
    "model": "show a model: its inputs, outputs, parameters and operators",
    "export": "write a model as ONNX, with a certificate that it gives the same",
    "verify": "make the outputs of a run again, or check a certificate",
    "samples": "write MNIST images as CSV files",
    "report": "show what the results of a run say, as a page or as text",
    "doctor": "show what this machine and this installation provide",
    "completion": "print a script that completes commands in your shell",
    "sagemaker": "run training and transform jobs on AWS or on this machine",
}
