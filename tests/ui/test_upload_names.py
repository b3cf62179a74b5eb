"""Uploaded files are shown by their names, and the settings keep their paths."""

from core.settings.run_config import RunConfig
from core.settings.sections import PATHS
from tests.settings.test_language import in_child
from ui.shared.settings_form import Form
from ui.shared.upload_names import with_names, with_paths

HASH = "3f9a2c81" + 56 * "0"


def test_there_and_back(tmp_path):
    for folder, name in ((HASH, "reviews (1).csv"), ("4" * 64, "reviews (1).csv")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).touch()
    paths = f"{tmp_path}/{HASH}/reviews (1).csv\nown.csv\n{tmp_path}/{'4' * 64}/reviews (1).csv"
    names = "reviews (1).csv (upload 3f9a2c81)\nown.csv\nreviews (1).csv (upload 44444444)"
    assert (with_names(paths, tmp_path), with_paths(names, tmp_path)) == (names, paths)


def test_a_name_that_was_kept_in_the_other_language_is_known(tmp_path):
    (tmp_path / HASH).mkdir()
    (tmp_path / HASH / "reviews.csv").touch()
    code = f"""
from pathlib import Path
from ui.shared.upload_names import with_names, with_paths
uploads = Path({str(tmp_path)!r})
own = with_names(f"{{uploads}}/{HASH}/reviews.csv", uploads)
print(own, *(with_paths(name, uploads) for name in (own, "reviews.csv (upload 3f9a2c81)")), sep="|")
"""
    path = f"{tmp_path}/{HASH}/reviews.csv"
    said = in_child("-c", code, HEARTHTUNE_LANGUAGE="ko").stdout
    assert said == f"reviews.csv (업로드 3f9a2c81)|{path}|{path}\n"


def test_what_is_no_upload_stays_as_it_is(tmp_path):
    (tmp_path / HASH).mkdir()
    (tmp_path / "secret.csv").touch()
    for text in ("gone.csv (upload 3f9a2c81)", "../secret.csv (upload 3f9a2c81)", "a.csv (upload zz)", "owner/data"):
        assert with_paths(text, tmp_path) == text
    for text in (f"{tmp_path}/a.csv", f"{tmp_path}/folder/a.csv", "runs/uploads/3f/a.csv", f"/other/{HASH}/a.csv"):
        assert with_names(text, tmp_path) == text


def test_the_form_shows_names_and_reads_paths(tmp_path):
    (tmp_path / HASH).mkdir()
    path = tmp_path / HASH / "reviews.csv"
    path.touch()
    config = RunConfig.build({"data": dict.fromkeys(PATHS, str(path))})
    form = Form(RunConfig(), tmp_path)
    form.add(*(f"data.{name}" for name in PATHS))
    filled = {component: update["value"] for component, update in form.fill(config).items()}
    assert set(filled.values()) == {"reviews.csv (upload 3f9a2c81)"} and form.read(filled) == config
