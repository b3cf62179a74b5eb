"""The names that columns have in published datasets, and what each name says the column is for.

Names are compared by `plain`: without case, spaces, underscores and hyphens. Within a table the first match wins.
"""

import re

TURNS = (
    "messages conversations conversation chat chatmessages dialog dialogue dialogs turns thread convo "
    "completion chosen response output 대화"
)
ALPACA = (
    "instruction instructions 지시 명령",
    "output response answer completion target chosen outputs 출력 응답 답변",
)
PAIRS = [
    # the question, the answer
    ALPACA,
    ("question questions q query", "answer answers a response completion reply output solution chosen"),
    ("prompt prompts userprompt", "completion response answer output chosen reply text target"),
    ("user usermessage human", "assistant assistantmessage bot gpt ai model chatbot response answer"),
    ("problem task", "solution answer response output"),
    ("질문 문제", "답변 대답 답 응답 정답"),
    ("问题 問題 问", "答案 回答 答"),
    ("frage pregunta domanda", "antwort respuesta réponse risposta"),
    (
        "article document dialogue dialog text report content body passage story review",
        "summary highlights tldr abstract",
    ),
    ("sentence source src text original", "translation target tgt translated"),
    ("input inputs source src", "output outputs target targets tgt response answer label"),
    ("request message post utterance", "reply response answer completion"),
]  # fmt: skip
INPUTS = "input inputs context 입력"
SYSTEMS = "system systemprompt systemmessage"
TOOLS = "tools functions availabletools"
TITLES = "title headline heading subject 제목"
TEXTS = "text content body article document passage story paragraph contents sentence 본문 내용 텍스트"
LABELS = "label labels labeltext category class sentiment rating score stars price emotion intent topic target tag tags"
# Columns that describe a row, and so are not trained on.
METADATA = (
    "id idx index no number uuid guid url urls link source src date time timestamp datetime created updated author "
    "lang language license split meta metadata subset domain type hash length tokens tokencount "
    "wordcount filename path file"
)
ANSWERS = "completion chosen response output"  # names of turns that follow on the prompt in another column
CHOSEN, REJECTED = "chosen", "rejected"
_CHOICES = re.compile(r"(choice|option)s?[a-z0-9]?")  # choices, options, option_a, choice1


def plain(name: str) -> str:
    """The name in the form in which names are compared."""
    return "".join(name.lower().split()).replace("_", "").replace("-", "").lstrip("\ufeff")


def is_choices(name: str) -> bool:
    """Whether the column has the possible answers to a multiple-choice question, or one of them."""
    return _CHOICES.fullmatch(plain(name.rpartition(".")[2])) is not None


def is_metadata(name: str) -> bool:
    """Whether the column only describes the row, as `id` and `doc_id` do."""
    return (
        plain(name) in METADATA.split()
        or name.lower().endswith(("_id", " id", "-id", "_at", "_url"))
        or name.endswith("Id")
    )
