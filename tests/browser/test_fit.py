"""The memory estimate: it follows the form, suggests changes that help, and is corrected by a measurement."""

import json
import re
import shutil

import pytest
from playwright.sync_api import expect

from core.families import LLAMA_LAYERS
from core.memory.cards import find_card
from core.memory.estimate import estimate, verdict
from core.memory.largest import largest
from core.memory.model_shape import shape_of
from core.memory.parts import Estimate
from core.memory.suggestions import suggestions, to_fit
from core.runs.run_folder import list_runs
from core.settings.paths import PROJECT_DIR
from core.settings.presets import find_preset
from core.settings.run_config import RunConfig
from tests.app_process import running_app
from tests.browser.conftest import PHONE, held, open_settings, photograph, reload, tab, unfold
from tests.hub_server import Hub
from ui.shared.formatting import size

LLAMA_8B = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 128256, "hidden_size": 4096,
    "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
    "max_position_embeddings": 131072, "tie_word_embeddings": False, "dtype": "bfloat16",
}  # fmt: skip
HUB_NAME = "somebody/a-llama"


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A hub with one model that consists only of its config.json."""
    folder = tmp_path_factory.mktemp("hub")
    shutil.copy(PROJECT_DIR / "presets" / "demo-llama" / "config.json", folder)
    with Hub({HUB_NAME: folder}) as hub:
        yield hub


@pytest.fixture(scope="module")
def app(tmp_path_factory, hub):
    folder = tmp_path_factory.mktemp("fit")
    own_hub = {"HF_ENDPOINT": hub.address, "HF_HUB_OFFLINE": "0", "HF_HOME": str(folder / "home")}
    with running_app(folder, environment=own_hub) as app:
        yield app


@pytest.fixture
def large_model(tmp_path):
    """A folder with the config.json of an 8B Llama and nothing else."""
    (tmp_path / "config.json").write_text(json.dumps(LLAMA_8B))
    return str(tmp_path)


def choose(page, name: str, text: str) -> None:
    """Type into a dropdown that accepts custom values."""
    box = page.locator(f"#{name} input")
    box.fill(text)
    box.press("Enter")


def fill(page, name: str, value) -> None:
    page.locator(f"#{name} input").fill(str(value))


def choose_card(page, card: str) -> None:
    page.locator("#card input").click()
    page.get_by_role("option", name=f"On {card}", exact=True).click()
    expect(page.locator("#card input")).to_have_value(f"On {card}")
    expect(page.locator("#fit .fit-words")).to_contain_text(f"the {card} has")  # until then it is of the card before


def use_model(page, name: str) -> None:
    tab(page, "Model")
    choose(page, "model-model_name", name)
    tab(page, "Train")


def expected(config: RunConfig, card: str) -> Estimate:
    return estimate(config, shape_of(config.model), find_card(card))


def expect_shown(page, config: RunConfig, card: str) -> None:
    """Check the sentence and the legend for these settings."""
    memory, room = expected(config, card), find_card(card).usable_gib
    sentence = f"It takes about {size(memory.total_gib)}; the {card} has {size(room)} for it"
    expect(page.locator("#fit .fit-words")).to_contain_text(sentence)
    expect(page.locator("#fit .fit-words b").first).to_have_text(
        {"fits": "Fits.", "tight": "Tight.", "no": "Does not fit."}[verdict(memory, find_card(card))]
    )
    figures = [size(value) for value in memory.parts.values() if value > 0]
    expect(page.locator("#fit .fit-legend b")).to_have_text(figures)
    expect(page.locator("#fit .fit-bar i")).to_have_count(len(figures))


def share_of(page, part: str) -> float:
    """The part's share of the bar's width."""
    bar = page.locator("#fit .fit-bar").bounding_box()
    return page.locator(f"#fit .fit-bar .part-{part}").bounding_box()["width"] / bar["width"]


def test_1_the_bar_follows_every_change_in_the_form(app, open_page):
    page = open_page(app.url)
    tab(page, "Train")
    expect(page.locator("#fit .fit-words")).to_contain_text("Fits. It takes about")
    expect(page.locator("#fit .fit-words")).to_contain_text("this machine has")
    photograph(page, "90-fit-first")

    tab(page, "Model")
    page.locator("#preset input").click()
    page.get_by_role("option", name=re.compile("8B")).first.click()
    tab(page, "Train")
    choose_card(page, "RTX 3060 12GB")
    config = find_preset("llama-3.1-8b").config
    expect_shown(page, config, "RTX 3060 12GB")
    assert share_of(page, "weights") == pytest.approx(
        expected(config, "RTX 3060 12GB").parts["weights"] / find_card("RTX 3060 12GB").usable_gib, abs=0.005
    )
    photograph(page, "91-fit-fits")

    for name, value, setting in (
        ("adapter-r", 128, "adapter.r=128"),
        ("training-per_device_train_batch_size", "3", "training.per_device_train_batch_size=3"),
        ("training-per_device_train_batch_size", "auto", "training.per_device_train_batch_size=auto"),
        ("model-max_seq_length", 4096, "model.max_seq_length=4096"),
    ):
        if name.endswith("batch_size"):
            choose(page, name, value)
        else:
            tab(page, "Model" if name.startswith("model") else "Train")
            fill(page, name, value)
            tab(page, "Train")
        config = config.with_settings([setting])
        expect_shown(page, config, "RTX 3060 12GB")
    batch = expected(config, "RTX 3060 12GB").batch
    expect(page.locator("#fit .fit-basis")).to_contain_text(f"Batch size auto: this assumes {batch};")

    fill(page, "adapter-r", 16)
    unfold(page, page.get_by_role("button", name="All settings"))
    page.locator("#adapter-modules_to_save label", has_text="embed_tokens").click()
    config = config.with_settings(["adapter.r=16", "adapter.modules_to_save=[embed_tokens]"])
    expect_shown(page, config, "RTX 3060 12GB")
    expect(page.locator("#fit .warning")).to_contain_text("With trained embeddings, the adapter takes")


def test_2_for_a_card_too_small_changes_are_suggested_and_applied(app, open_page, large_model):
    page = open_page(app.url)
    tab(page, "Train")
    choose(page, "training-per_device_train_batch_size", "4")
    choose_card(page, "RTX 3070 8GB")
    use_model(page, large_model)
    card = find_card("RTX 3070 8GB")
    config = find_preset("demo-yoda").config.with_settings(
        [f"model.model_name={large_model}", "training.per_device_train_batch_size=4"]
    )
    expect_shown(page, config, card.name)
    arguments = (config, shape_of(config.model), card)
    assert verdict(expected(config, card.name), card) == "no"
    first, *_ = suggestions(*arguments)
    button = page.locator("#fit .fit-changes li button").first
    expect(button).to_have_text(first.words)
    expect(page.locator("#fit .fit-changes li:has(button)").first).to_contain_text(f"saves {size(first.saves_gib)}")
    photograph(page, "92-fit-does-not-fit")

    before = expected(config, card.name).total_gib
    button.click()
    changed = config.with_settings([first.set, *first.also])
    expect_shown(page, changed, card.name)
    assert before - expected(changed, card.name).total_gib == pytest.approx(first.saves_gib)

    choose_card(page, "RTX 4090 24GB")
    expect_shown(page, changed, "RTX 4090 24GB")
    expect(page.locator("#fit .fit-words")).to_contain_text("Fits.")
    expect(page.locator("#fit .fit-changes")).to_have_count(0)
    most = largest(changed, shape_of(changed.model), find_card("RTX 4090 24GB"))
    page.get_by_role("button", name=f"Batch size {most.batch}").click()
    expect(page.locator("#training-per_device_train_batch_size input")).to_have_value(str(most.batch))
    choose(page, "card", "23.5 GB")
    expect(page.locator("#fit .fit-words")).to_contain_text("a card of 23.5GB has 23.0 GiB for it")
    expect(page.locator("#fit .fit-time")).to_contain_text("is not known")
    photograph(page, "92-fit-most")


def test_3_one_click_makes_it_fit(app, open_page, large_model):
    page = open_page(f"{app.url}/?__theme=dark", size=PHONE)
    use_model(page, large_model)
    choose_card(page, "RTX 3070 8GB")
    card = find_card("RTX 3070 8GB")
    config = find_preset("demo-yoda").config.with_settings([f"model.model_name={large_model}"])
    changes = to_fit(config, shape_of(config.model), card)
    expect(page.locator("#fit .fit-words")).to_contain_text("Does not fit.")
    photograph(page, "93-fit-phone-dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert changes
    page.get_by_role("button", name="Make it fit").click()
    fitted = config.with_settings([setting for change in changes for setting in (change.set, *change.also)])
    expect_shown(page, fitted, card.name)
    assert verdict(expected(fitted, card.name), card) != "no"


def test_4_bad_input_and_models_without_an_estimate(app, hub, open_page):
    page = open_page(app.url)
    use_model(page, "./nowhere")
    expect(page.locator("#fit .warning")).to_have_text(
        "There is no folder ./nowhere; check the path, or use a name like owner/model."
    )
    expect(page.locator("#fit .fit-bar")).to_have_count(0)
    use_model(page, HUB_NAME)
    expect(page.locator("#fit")).to_contain_text(f"The config.json of {HUB_NAME} is not on this machine yet")
    assert hub.requests == [], "the hub is not contacted before the user agrees"
    photograph(page, "94-fit-not-here-yet")
    page.get_by_role("button", name="Download it from Hugging Face").click()
    expect(page.locator("#fit .fit-words")).to_contain_text("Fits.")
    assert {request.path.rpartition("/")[2] for request in hub.requests} == {"config.json"}
    use_model(page, "somebody/else")
    page.get_by_role("button", name="Download it from Hugging Face").click()
    expect(page.locator("#fit .warning")).to_contain_text("The memory of somebody/else cannot be estimated yet")

    use_model(page, "presets/demo-llama")
    expect(page.locator("#fit .fit-words")).to_contain_text("Fits.")
    with held(page, "errors_now"):
        fill(page, "adapter-r", 0)
        expect(page.locator("#fit .warning")).to_contain_text("Rank")
        page.locator("#fit .warning").get_by_role("button", name="Show it").click()
        expect(page.locator("#adapter-r input")).to_be_focused()
    expect(page.locator("#adapter-r .fault")).to_contain_text("Rank (adapter.r) cannot be 0")
    # From one wrong setting to another Gradio changes the attribute of what it has drawn, and nothing else.
    page.evaluate("""for (const part of document.querySelectorAll("[data-faults*='adapter-r']"))
        part.dataset.faults = '{"adapter-lora_alpha": "Alpha is odd."}'""")
    expect(page.locator(".fault")).to_have_text("Alpha is odd.")
    fill(page, "adapter-r", 16)
    choose(page, "training-per_device_train_batch_size", "many")
    page.locator("#adapter-r input").focus()
    error = "Batch size (training.per_device_train_batch_size) cannot be 'many"
    expect(page.locator("#training-per_device_train_batch_size .fault")).to_contain_text(error)
    photograph(page, "94-fit-wrong-batch")
    choose(page, "training-per_device_train_batch_size", "16")
    expect(page.locator("#fit .fit-words")).to_contain_text("Fits.")


def test_5_a_probe_a_batch_search_and_a_run_report_their_memory(app, open_page):
    page = open_page(app.url)
    tab(page, "Model")
    fill(page, "model-max_seq_length", 64)
    tab(page, "Train")
    choose(page, "training-per_device_train_batch_size", "2")
    fill(page, "training-gradient_accumulation_steps", 4)
    fill(page, "training-max_steps", 12)
    page.click("#probe")
    expect(page.locator("#probing .good")).to_contain_text(
        re.compile(
            r"^presets/demo-llama: measured on rows of 64 tokens, 2 at once: "
            r"peak memory \d\.\d\d GiB \(estimated \d\.\d\d GiB\), "
            r"[\d.]+ s per step. The run of 12 steps would take \d+:\d\d if all rows were that long. "
            r"Estimates for this model on this machine are now corrected by it."
        ),
        timeout=120_000,
    )
    peak = re.search(r"peak memory (\S+ GiB)", page.locator("#probing .good").inner_text())[1]
    expect(page.locator("#fit .fit-basis")).to_contain_text(
        f"Corrected by a probe on this machine, which measured {peak}."
    )
    photograph(page, "95-fit-probed")
    choose_card(page, "RTX 3060 12GB")
    expect(page.locator("#fit .fit-basis")).to_have_count(0)  # a measurement here does not apply to another card
    page.locator("#card input").click()
    page.get_by_role("option", name=re.compile("On this machine")).click()
    expect(page.locator("#fit .fit-words")).to_contain_text("this machine has")

    expect(page.locator("#training-auto_batch_headroom")).to_be_hidden()
    choose(page, "training-per_device_train_batch_size", "auto")
    fill(page, "training-gradient_accumulation_steps", 8)
    fill(page, "training-auto_batch_headroom", 0.05)
    photograph(page, "95-fit-headroom")
    page.click("#find-batch")
    found = "presets/demo-llama: the largest batch that leaves 5% of the memory free is 8"
    expect(page.locator("#probing .good").first).to_contain_text(found, timeout=120_000)
    photograph(page, "96-fit-batch-found")
    page.get_by_role("button", name="Use batch 8 with accumulation 1").click()
    expect(page.locator("#training-per_device_train_batch_size input")).to_have_value("8")
    expect(page.locator("#training-gradient_accumulation_steps input")).to_have_value("1")
    expect(page.locator("#training-auto_batch_headroom")).to_be_hidden()

    page.click("#start")
    expect(page.locator("#charts polyline.estimate")).to_have_count(1, timeout=60_000)
    expect(page.locator("#charts .key.estimate")).to_contain_text("estimate")
    open_settings(page)
    fill(page, "adapter-r", 256)  # the estimate follows the form during a run
    expect(page.locator("#fit .fit-basis")).to_contain_text("Corrected by a probe")
    expect(page.locator("#train-end .card").last).to_contain_text("At the end", timeout=180_000)
    (run, *_) = list_runs(app.runs_dir)
    snapshot = run.snapshot()
    expect(page.locator("#train-end dl")).to_contain_text(
        f"estimated {snapshot.estimated.before_probe_gib:.2f} GiB · probed {snapshot.probed.peak_gib:.2f} GiB "
        f"on rows of {snapshot.probed.length} tokens · measured {snapshot.finished.peak_memory_gib:.2f} GiB (estimate "
    )
    photograph(page, "97-fit-at-the-end")


def test_6_a_stopped_probe_and_a_failed_one(app, open_page, large_model):
    page = open_page(app.url)
    tab(page, "Train")
    fill(page, "training-gradient_accumulation_steps", 64)  # with so many rows per step the search takes a while
    page.click("#find-batch")
    page.click("#stop-probe")
    expect(page.locator("#fit-trouble .warning")).to_have_text("Stopped before there was a result.", timeout=120_000)
    expect(page.locator("#stop-probe")).to_be_hidden()
    expect(page.locator("#start")).to_have_text("Start training")
    use_model(page, large_model)
    page.click("#probe")
    expect(page.locator("#probing .error")).to_contain_text("has no weights as safetensors", timeout=60_000)
    photograph(page, "98-fit-probe-failed")


def test_7_the_layers_to_adapt_are_those_of_the_model(app, open_page, tmp_path):
    phi = LLAMA_8B | {"model_type": "phi3", "architectures": ["Phi3ForCausalLM"], "sliding_window": None}
    (tmp_path / "config.json").write_text(json.dumps(phi))
    page = open_page(app.url)
    tab(page, "Train")
    unfold(page, page.locator("#all-settings > button.label-wrap"))
    boxes = page.locator("#adapter-target_modules input:visible")

    def expect_boxes(*names: str) -> None:
        expect(boxes).to_have_count(len(names))
        expect(page.locator("#adapter-target_modules input:checked")).to_have_count(len(names))
        assert [box.get_attribute("name") for box in boxes.all()] == list(names)

    expect_boxes(*LLAMA_LAYERS)
    use_model(page, str(tmp_path))
    expect_boxes("o_proj", "down_proj", "qkv_proj", "gate_up_proj")
    page.locator("#adapter-target_modules").scroll_into_view_if_needed()
    photograph(page, "99-fit-layers")
    reload(page)
    expect(page.locator("#model-model_name input")).to_have_value(str(tmp_path))
    unfold(page, page.locator("#all-settings > button.label-wrap"))
    expect_boxes("o_proj", "down_proj", "qkv_proj", "gate_up_proj")
    use_model(page, "presets/demo-llama")
    expect_boxes(*LLAMA_LAYERS)
