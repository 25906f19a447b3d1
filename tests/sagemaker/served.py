"""What SageMaker's own handler answers for the networks of tests/networks.py: run with the container's interpreter.

`python served.py ROWS NAME=FOLDER …` prints a JSON object: for each name the answers as JSON and as CSV.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

ACCEPTED = ("application/json", "text/csv")


def main() -> None:
    logging.disable(logging.CRITICAL)
    from sagemaker_mxnet_serving_container.default_inference_handler import DefaultModuleInferenceHandler

    handler, body, answers = DefaultModuleInferenceHandler(), Path(sys.argv[1]).read_text(), {}
    for argument in sys.argv[2:]:
        name, _, folder = argument.partition("=")
        try:
            model = handler.default_model_fn(folder)
        except Exception as error:
            answers[name] = [type(error).__name__] * len(ACCEPTED)
            continue
        answers[name] = []
        for accept in ACCEPTED:
            rows = handler.default_input_fn(body, "text/csv", model)
            try:
                answers[name].append(handler.default_output_fn(handler.default_predict_fn(rows, model), accept))
            except Exception as error:
                answers[name].append(f"{type(error).__name__}")
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
