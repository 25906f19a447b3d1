"""The inside of a transform job's container: `python cloud_transform.py PLAN`, run by the toolkits' own interpreter.

It answers each object by the requests that Batch Transform would send, with the MXNet container's handler service in process
instead of through its HTTP server; `SAGEMAKER_PROGRAM` and the user's hooks are the toolkit's own business.

The plan is JSON: `model` (a folder), `objects` (`name`, `source`, `target`), and the job's `content_type`, `accept`,
`split`, `strategy`, `assemble`, `gzip` and `limit` (bytes of a request, 0 for none). `results` gets one
line per object: its name and, if it failed, the reason.
"""

import gzip
import io
import json
import sys
import traceback

from mms.context import Context, RequestProcessor
from sagemaker_mxnet_serving_container.handler_service import HandlerService


class ObjectFailed(Exception):
    pass


def split(body, plan):
    """The bodies of an object's requests."""
    if plan["split"] == "None":
        return [body]
    lines = io.BytesIO(body).readlines()
    if plan["strategy"] == "SingleRecord":
        return lines
    bodies = [b""]
    for line in lines:
        if plan["limit"] and len(bodies[-1]) + len(line) > plan["limit"] and bodies[-1]:
            bodies.append(b"")
        bodies[-1] += line
    return bodies


def answer(service, body, plan):
    if plan["limit"] and len(body) > plan["limit"]:
        raise ObjectFailed("Too much data for max payload size")
    headers = {"Accept": plan["accept"]} if plan["accept"] else {}
    if plan["content_type"]:
        headers["Content-Type"] = plan["content_type"]
    context = Context("model", plan["model"], {}, 1, None, "1.1.11")
    context.request_processor = [RequestProcessor(headers)]
    reply = service.handle([{"body": body}], context)[0]
    status, phrase = context.get_response_status(0)
    if status != 200:
        # The model server writes the exception's trace to its log.
        print(reply, flush=True)
        raise ObjectFailed(f"Bad HTTP status received from algorithm: {status}\n{phrase}")
    return reply.encode() if isinstance(reply, str) else bytes(reply)


def transform(service, item, plan):
    with open(item["source"], "rb") as file:
        body = file.read()
    if plan["gzip"]:
        try:
            body = gzip.decompress(body)
        except (OSError, EOFError) as error:
            raise ObjectFailed(f"Unable to decompress: {error}") from error
    replies = [answer(service, request, plan) for request in split(body, plan)]
    with open(item["target"], "wb") as file:
        file.write(b"".join(reply + b"\n" for reply in replies) if plan["assemble"] == "Line" else b"".join(replies))


def main():
    with open(sys.argv[1]) as file:
        plan = json.load(file)
    service = HandlerService()
    service.initialize(Context("model", plan["model"], {}, 1, None, "1.1.11"))
    with open(plan["results"], "w", buffering=1) as results:
        for item in plan["objects"]:
            try:
                transform(service, item, plan)
                results.write(json.dumps({"name": item["name"]}) + "\n")
            except ObjectFailed as error:
                results.write(json.dumps({"name": item["name"], "error": str(error)}) + "\n")


if __name__ == "__main__":
    try:
        main()
    except Exception:
        traceback.print_exc()
        sys.exit(1)
