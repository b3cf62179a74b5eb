"""A process of its own that runs a GGUF file with llama.cpp and answers on its standard output.

A damaged file makes llama.cpp end its process, so the app does not load one itself. Each line of the input is a request
as JSON, each line of the output its answer; see `core.export.llama_cpp`.
"""

import json
import os
import sys
import urllib.request

CERTAIN = 1e6  # added to a logit, makes its token the one that is taken


def main(path: str, length: int, lora: str = "") -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what llama.cpp prints must not get between the answers
    # Its threads wait for each other after every small operation. Waiting actively takes them from whoever else needs
    # the processor: beside two busy programs the demo's test then took 20 times the processor time.
    os.environ |= {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"}
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = path
    params.n_ctx, params.n_parallel, params.warmup, params.verbosity = length, 1, False, -1
    params.fit_params = False  # no shorter context where memory is short: the test needs this one
    # By default keys and values are kept in 16 bits, which would add an error that is not the file's.
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    if lora:
        params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(lora, 1.0)]
    server = xllamacpp.Server(params)

    def ask(what: str, **body):
        content, kind = json.dumps(body).encode(), {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{server.listening_address}/{what}", content, kind)
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
            return json.load(answer)

    def tokens(text: str) -> list[int]:
        return ask("tokenize", content=text, add_special=False, parse_special=True)["tokens"]

    # llama.cpp gives no probabilities with a token that is only a part of a character, as bytes of emoji are.
    # So the token that it takes is a whole one; the probabilities are those from before the bias.
    whole = [[tokens("a")[-1], CERTAIN]]

    def answer_to(request: dict):
        if "text" in request:
            return tokens(request["text"])
        prompt, greedy = request["ids"], {"temperature": 0, "cache_prompt": True, "return_tokens": True}
        if "new" in request:
            return ask("completion", prompt=prompt, n_predict=request["new"], **greedy)["tokens"]
        found = ask("completion", prompt=prompt, n_predict=1, n_probs=request["vocabulary"], logit_bias=whole, **greedy)
        return {entry["id"]: entry["logprob"] for entry in found["completion_probabilities"][0]["top_logprobs"]}

    for line in sys.stdin:
        print(json.dumps(answer_to(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
