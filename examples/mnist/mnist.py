"""Trains the MNIST network with MXNet's Module API, and answers requests with it.

The same file runs on a laptop (`python mnist.py --train DIR --test DIR --model-dir DIR`), as the script of a SageMaker training
job, where the SM_* variables name the folders, and as the module of a transform job or endpoint, where the server calls
`model_fn` and `transform_fn`. It needs MXNet and NumPy; where fastinfer is installed, that answers the requests, with the
same bytes. Python 3.6 and later, as SageMaker's MXNet containers have it.
"""

import argparse
import gzip
import io
import json
import logging
import os
import pickle
import re

import numpy as np

try:  # on any Python and NumPy
    from fastinfer import load_mxnet
except ImportError:  # on those of MXNet's time: NumPy < 1.24
    import mxnet as mx
else:
    mx = load_mxnet()

ROW_SHAPE = (1, 28, 28)
PREFIX = "mnist"


# Training


def read_channel(folder):
    """Images (n, 1, 28, 28) as float32 from 0 to 1, and labels (n,), of images.gz and labels.gz anywhere below a folder."""
    arrays = {}
    for place, _, names in os.walk(folder):
        for name, offset in (("images.gz", 16), ("labels.gz", 8)):
            if name in names:
                with gzip.open(os.path.join(place, name)) as file:
                    arrays[name] = np.frombuffer(file.read(), np.uint8, offset=offset)
    if len(arrays) < 2:
        raise FileNotFoundError(f"expected images.gz and labels.gz below {folder}, found {sorted(arrays)}")
    labels = arrays["labels.gz"].astype(np.float32)
    return arrays["images.gz"].reshape((-1, *ROW_SHAPE)).astype(np.float32) / 255, labels


def build_network():
    layer = mx.sym.flatten(mx.sym.var("data"))
    layer = mx.sym.Activation(mx.sym.FullyConnected(layer, num_hidden=128), act_type="relu")
    layer = mx.sym.Activation(mx.sym.FullyConnected(layer, num_hidden=64), act_type="relu")
    return mx.sym.SoftmaxOutput(mx.sym.FullyConnected(layer, num_hidden=10), name="softmax")


def find_checkpoint(folder, with_states):
    """The last epoch whose files are whole, 0 without any. A job that was stopped may have left the last ones half."""
    epochs = [re.match(PREFIX + r"-(\d{4,})\.params$", name) for name in os.listdir(folder)]
    for epoch in sorted((int(match.group(1)) for match in epochs if match), reverse=True):
        path = os.path.join(folder, f"{PREFIX}-{epoch:04d}")
        try:
            mx.nd.load(path + ".params")
            if with_states:
                with open(path + ".states", "rb") as file:
                    pickle.load(file)
            return epoch
        except (mx.MXNetError, OSError, EOFError, ValueError, pickle.UnpicklingError) as error:
            logging.warning("the checkpoint of epoch %d is passed over: %s", epoch, str(error).partition("\n")[0])
    return 0


def train(arguments):
    mx.random.seed(arguments.seed)
    np.random.seed(arguments.seed)
    images, labels = read_channel(arguments.train)
    test_images, test_labels = read_channel(arguments.test)
    # Each host trains on its own part of the rows.
    hosts = arguments.hosts
    count = len(labels) // len(hosts)
    first = hosts.index(arguments.current_host) * count
    batches = mx.io.NDArrayIter(
        images[first : first + count], labels[first : first + count], arguments.batch_size, shuffle=True
    )
    validation = mx.io.NDArrayIter(test_images, test_labels, arguments.batch_size)
    saves = arguments.current_host == hosts[0]

    contexts = [mx.gpu(index) for index in range(arguments.gpus)] or [mx.cpu()]
    network = build_network()
    module = mx.mod.Module(network, context=contexts)
    checkpoints = arguments.checkpoint_dir if os.path.isdir(arguments.checkpoint_dir) else None
    # A store on several hosts keeps the optimizer's states to itself; plain sgd has none.
    states = len(hosts) == 1
    done = find_checkpoint(checkpoints, states) if checkpoints else 0
    if done:
        logging.info("going on behind epoch %d", done)
        prefix = os.path.join(checkpoints, PREFIX)
        # All epochs share this file, and it may have been left half as well.
        network.save(prefix + "-symbol.json")
        module = mx.mod.Module.load(prefix, done, load_optimizer_states=states, context=contexts)
    after_epoch = None
    if checkpoints and saves:
        after_epoch = mx.callback.module_checkpoint(
            module, os.path.join(checkpoints, PREFIX), period=1, save_optimizer_states=states
        )
    module.fit(
        batches,
        eval_data=validation,
        kvstore="local" if len(hosts) == 1 else "dist_sync",
        optimizer="sgd",
        optimizer_params={"learning_rate": arguments.learning_rate},
        batch_end_callback=mx.callback.Speedometer(arguments.batch_size, 100),
        epoch_end_callback=after_epoch,
        begin_epoch=done,
        num_epoch=arguments.epochs,
    )
    if saves:
        save(arguments.model_dir, module, arguments.batch_size)


def save(model_dir, module, batch_size):
    """Writes the three files that the serving container reads."""
    if not os.path.isdir(model_dir):
        os.makedirs(model_dir)
    module.symbol.save(os.path.join(model_dir, "model-symbol.json"))
    module.save_params(os.path.join(model_dir, "model-0000.params"))
    with open(os.path.join(model_dir, "model-shapes.json"), "w") as file:
        json.dump([{"name": "data", "shape": (batch_size, *ROW_SHAPE)}], file)


def parse_arguments(argv=None):
    environment = os.environ
    parser = argparse.ArgumentParser(description="Train the MNIST network with MXNet's Module API.")
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--learning-rate", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--model-dir", default=environment.get("SM_MODEL_DIR"))
    parser.add_argument("--train", default=environment.get("SM_CHANNEL_TRAIN"))
    parser.add_argument("--test", default=environment.get("SM_CHANNEL_TEST"))
    parser.add_argument("--checkpoint-dir", default="/opt/ml/checkpoints", help="used where the folder exists")
    parser.add_argument("--gpus", type=int, default=int(environment.get("SM_NUM_GPUS", "0")))
    parser.add_argument("--current-host", default=environment.get("SM_CURRENT_HOST", "localhost"))
    parser.add_argument("--hosts", type=json.loads, default=json.loads(environment.get("SM_HOSTS", '["localhost"]')))
    arguments = parser.parse_args(argv)
    for name in ("model_dir", "train", "test"):
        if getattr(arguments, name) is None:
            parser.error("--{} is needed".format(name.replace("_", "-")))
    return arguments


# Serving


def model_fn(model_dir):
    """What answers requests: fastinfer's predictor where it is installed, else a Module that is bound at one row."""
    try:
        from fastinfer import Predictor
    except ImportError:
        symbol, parameters, auxiliary = mx.model.load_checkpoint(os.path.join(model_dir, "model"), 0)
        module = mx.mod.Module(symbol, context=mx.cpu(), label_names=None)
        module.bind(data_shapes=[("data", (1, *ROW_SHAPE))], for_training=False)
        module.set_params(parameters, auxiliary, allow_missing=True)
        return module
    return Predictor(model_dir, exact=True)


def transform_fn(model, data, content_type, accept):
    """One request's body to its answer and the answer's content type."""
    if not isinstance(model, mx.mod.BaseModule):
        return model.answer(data, content_type, accept)
    # Row by row: in a larger batch the last digits would differ.
    rows = mx.io.NDArrayIter(decode(data, content_type), batch_size=1)
    return encode(model.predict(rows).asnumpy(), accept)


def decode(data, content_type):
    if content_type == "text/csv":
        values = np.genfromtxt(io.StringIO(data), dtype=None, delimiter=",")
        # Of CSV the total counts: lines need not be rows.
        return mx.nd.array(values).reshape((-1, *ROW_SHAPE))
    if content_type == "application/json":
        values = np.array(json.loads(data))
    elif content_type == "application/x-npy":
        values = np.load(io.BytesIO(data))
    else:
        raise ValueError(f"expected text/csv, application/json or application/x-npy, found {content_type}")
    # Rows of another size would leave the module bound to them, and no later request would be answered.
    return mx.nd.array(values).reshape((len(values), *ROW_SHAPE))


def encode(predictions, accept):
    for wanted in accept.replace(" ", "").split(","):
        if wanted == "application/json":
            return json.dumps(predictions.tolist()), "application/json"
        if wanted == "text/csv":
            return "".join(",".join(map(repr, row)) + "\n" for row in predictions.tolist()), wanted
        if wanted == "application/x-npy":
            content = io.BytesIO()
            np.save(content, np.array(predictions.tolist()))
            return content.getvalue(), wanted
    raise ValueError(f"expected application/json, text/csv or application/x-npy to be accepted, found {accept}")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    train(parse_arguments())
