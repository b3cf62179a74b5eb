"""The notes that a run keeps of its exports."""

from dataclasses import replace
from math import inf

from core.export.checks import Check
from core.export.export_files import ExportedFile
from core.export.record import Exported, load_exports, save
from core.export.wanted import Wanted
from core.runs.run_folder import create_run
from core.settings.run_config import RunConfig

CHECK = Check("model.safetensors", inf, 0.25, 0.5, 1, 2, None, 0.125, False)


def exported(folder, made: float, **wanted) -> Exported:
    folder.mkdir(parents=True)
    file = folder / "README.md"
    file.write_text("12345")
    return Exported(Wanted(out=folder, **wanted), folder, (ExportedFile(file, 5, "ab"),), (CHECK,), made=made)


def test_an_export_is_read_back_as_it_was_saved_the_newest_first(runs_dir, tmp_path):
    run = create_run(runs_dir, "made", RunConfig())
    older = exported(tmp_path / "a", 1.5, to="merged", dtype="float16", onto="original")
    newer = replace(exported(tmp_path / "b", 2.25, to="gguf", quant=("f16", "q8_0")), step=40)
    save(newer, run), save(older, run)
    assert load_exports(run) == [newer, older]
    assert not newer.passed and newer.failed == (CHECK,)
    assert replace(newer, checks=()).passed is False  # it was not tested
    again = replace(older, made=3.0)
    save(again, run)
    assert load_exports(run) == [again, newer], "the newest of its kind takes the place of the one before"


def test_an_export_whose_files_are_gone_or_changed_is_not_listed(runs_dir, tmp_path):
    run = create_run(runs_dir, "made", RunConfig())
    gone, changed = exported(tmp_path / "a", 1.0, to="merged"), exported(tmp_path / "b", 2.0, to="adapter")
    save(gone, run), save(changed, run)
    (tmp_path / "b" / "README.md").write_text("123456")
    assert load_exports(run) == [gone]
    (tmp_path / "a" / "README.md").unlink()
    assert load_exports(run) == []


def test_a_damaged_note_is_said(runs_dir, tmp_path):
    run, said = create_run(runs_dir, "made", RunConfig()), []
    kept = exported(tmp_path / "a", 1.0, to="merged")
    save(kept, run)
    (run.folder / "exports" / "gguf.json").write_text('{"wanted": ')
    assert load_exports(run, said.append) == [kept]
    assert said == ["The note of an export in gguf.json cannot be read: the file is damaged."]
