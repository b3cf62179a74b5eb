"""Prompts as a table, in Go's and in Jinja's form: the same text as the model's own template writes."""

import json
import shutil
import subprocess
from datetime import date

import pytest

from core.data.prompts.prompt_date import on_date
from core.data.prompts.prompt_templates import prompt_text
from core.export.chat_parts import NOT_A_TABLE, chat_parts, jinja_template
from core.export.modelfile import THREE_QUOTES, modelfile, ollama_template, parts_of
from core.export.wanted import Chat
from core.problems import ExportError

GO = r"""
package main
import ("encoding/json"; "os"; "text/template")
type Message struct { Role, Content string }
type Case struct { Template string; Messages []Message }
func main() {
	var cases []Case
	if err := json.NewDecoder(os.Stdin).Decode(&cases); err != nil { panic(err) }
	var made []string
	for _, one := range cases {
		file, _ := os.CreateTemp("", "rendered")
		parsed := template.Must(template.New("").Parse(one.Template))
		if err := parsed.Execute(file, one); err != nil { panic(err) }
		text, _ := os.ReadFile(file.Name())
		os.Remove(file.Name())
		made = append(made, string(text))
	}
	json.NewEncoder(os.Stdout).Encode(made)
}
"""
OWN = "### Conversation:\n{dialogue}\n\n### Summary:\n{summary}"
TEMPLATES = ["demo", "meta-llama-Llama-3.1-8B-Instruct", "meta-llama-Llama-3.2-3B-Instruct", "alpaca"]


def conversations(count: int = 50) -> list[list[dict]]:
    """Conversations of one to five questions, half of them with a system prompt, with signs that templates use."""
    texts = [
        "Say {{ .Role }}.",
        'He said "no" \\ and `left`.',
        "한국어\n두 줄 🎉",
        "{% if x %} <|not|> $1",
        "a < b && c > d",
    ]
    found = []
    for number in range(count):
        turns = [{"role": "system", "content": f"You are {texts[number % 5]}"}] if number % 2 else []
        for turn in range(number % 5):
            turns += [
                {"role": "user", "content": f"{turn}: {texts[(number + turn) % 5]}"},
                {"role": "assistant", "content": f"Answer {texts[(number * 3 + turn) % 5]}"},
            ]
        found.append([*turns, {"role": "user", "content": texts[number * 7 % 5]}])
    return found


@pytest.fixture(params=TEMPLATES)
def prompts(request, chat_tokenizer, demo_tokenizer, chat_templates):
    """(tokenizer, prompt template) for each kind of prompt."""
    if request.param == "demo":
        return demo_tokenizer, "chat"
    if request.param not in ("alpaca", OWN):
        file = chat_templates / f"{request.param}.jinja"
        if not file.exists():
            pytest.skip(f"{file.name} is not there")
        chat_tokenizer.chat_template = file.read_text(encoding="utf-8")
    is_plain = request.param in ("alpaca", OWN)
    return on_date(chat_tokenizer, date(2026, 11, 27)), request.param if is_plain else "chat"


def test_the_table_writes_the_prompts_of_the_template(prompts):
    tokenizer, template = prompts
    parts = parts_of(tokenizer, template)
    for messages in conversations():
        assert tokenizer.bos_token + parts.render(messages) == prompt_text(messages, template, tokenizer)


def test_as_a_chat_template_it_writes_them_too(prompts):
    tokenizer, template = prompts
    parts = parts_of(tokenizer, template)
    written = jinja_template(parts, tokenizer.eos_token)
    for messages in conversations():
        made = tokenizer.apply_chat_template(
            messages, chat_template=written, tokenize=False, add_generation_prompt=True
        )
        assert made == prompt_text(messages, template, tokenizer)


@pytest.mark.parametrize("prompts", [*TEMPLATES, OWN], ids=[*TEMPLATES, "own"], indirect=True)
def test_go_writes_them_too(prompts, tmp_path):
    if shutil.which("go") is None:
        pytest.skip("Go is not installed")
    tokenizer, template = prompts
    written = ollama_template(tokenizer, template)
    (tmp_path / "main.go").write_text(GO, encoding="utf-8")
    cases = [
        {"Template": written, "Messages": [{"Role": m["role"], "Content": m["content"]} for m in messages]}
        for messages in conversations()
    ]
    done = subprocess.run(
        ["go", "run", "main.go"], cwd=tmp_path, input=json.dumps(cases), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    expected = [
        prompt_text(messages, template, tokenizer).removeprefix(tokenizer.bos_token) for messages in conversations()
    ]
    assert json.loads(done.stdout) == expected


def test_a_template_that_counts_its_turns_is_refused():
    def render(messages: list[dict]) -> str:
        return "".join(f"[{place}] {message['content']}\n" for place, message in enumerate(messages))

    with pytest.raises(ExportError) as caught:
        chat_parts(render)
    assert caught.value.template == NOT_A_TABLE


def test_the_modelfile_of_the_demo(demo_tokenizer):
    text = modelfile("demo.gguf", ollama_template(demo_tokenizer, "chat"), ["<|eot_id|>"])
    assert text == (
        "FROM ./demo.gguf\n"
        'TEMPLATE """{{ $previous := "" }}{{ range .Messages }}{{ if eq .Role "system" }}'
        '{{ "<|start_header_id|>system<|end_header_id|>\\n\\n" }}{{ else if eq .Role "user" }}'
        '{{ if eq $previous "" }}{{ "<|start_header_id|>user<|end_header_id|>\\n\\n" }}'
        '{{ else if eq $previous "system" }}{{ "<|eot_id|><|start_header_id|>user<|end_header_id|>\\n\\n" }}'
        '{{ else }}{{ "<|eot_id|><|start_header_id|>user<|end_header_id|>\\n\\n" }}{{ end }}'
        '{{ else if eq .Role "assistant" }}{{ "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\\n\\n" }}'
        "{{ end }}{{ .Content }}{{ $previous = .Role }}{{ end }}"
        '{{ "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\\n\\n" }}"""\n'
        'PARAMETER stop "<|eot_id|>"\n'
    )


def test_a_modelfile_has_the_system_prompt_and_the_sampling_that_a_person_likes(demo_tokenizer):
    template = ollama_template(demo_tokenizer, "chat")
    plain = modelfile("demo.gguf", template, ["<|eot_id|>"])
    text = modelfile("demo.gguf", template, ["<|eot_id|>"], Chat('Say "hm".\nOften.', 0.7, 0.9))
    assert text == plain + 'SYSTEM """Say "hm".\nOften."""\nPARAMETER temperature 0.7\nPARAMETER top_p 0.9\n'
    text = modelfile("demo.gguf", template, ["<|eot_id|>"], Chat(temperature=0.0))
    assert text == plain + "PARAMETER temperature 0\n"
    with pytest.raises(ExportError) as told:
        modelfile("demo.gguf", template, [], Chat('Say """.'))
    assert told.value.template == THREE_QUOTES
