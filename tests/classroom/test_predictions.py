import json

import pytest

import lirf_kit as lk


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("LIRF_KIT_STATIC", "LIRF_KIT_PREDICT"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def answers(monkeypatch):
    """Let a student type these answers, one after the other."""

    def prepare(*lines):
        left = iter(lines)
        monkeypatch.setattr("builtins.input", lambda prompt: next(left))

    return prepare


def test_a_number_is_kept_and_shown_beside_the_result(answers, folder, capsys):
    answers("40 %", "−2,5")
    lk.predict_first("Dep Acc", unit="%").beside(0.3)
    lk.predict_first("change").beside(-2)
    assert capsys.readouterr().out == "Dep Acc: you said 40 %, it is 0.3 %\nchange: you said -2.5, it is -2\n"
    kept = json.loads((folder / "my-predictions.json").read_text(encoding="utf-8"))
    assert kept["Dep Acc"] == {"predicted": 40.0, "unit": "%", "choices": None, "actual": 0.3}
    table = lk.my_predictions()
    assert table["off"].round(6).to_dict() == {"Dep Acc": 39.7, "change": -0.5}
    assert "numbers: 1 of 2 too high, 1 too low; half of them within 20.1" in capsys.readouterr().out


@pytest.mark.parametrize("typed,number", [("1,797", 1797), ("2,5", 2.5), ("0,125", 0.125), ("12,345,678", 12345678)])
def test_a_comma_is_read_as_it_is_meant(answers, typed, number):
    answers(typed)
    assert lk.predict_first("n").predicted == number


def test_a_folder_that_cannot_be_written_is_named_and_the_class_goes_on(answers, folder, capsys, monkeypatch):
    def full(*_):
        raise OSError(28, "disk full")

    monkeypatch.setattr("os.replace", full)
    answers("3")
    assert lk.predict_first("n").predicted == 3
    said = "my-predictions.json can't be written in this folder (disk full), so this prediction isn't kept.\n"
    assert capsys.readouterr().out == said


def test_a_choice_is_read_whatever_its_case_and_counted(answers, capsys):
    answers("Lower", "h")
    lk.predict_first("loss", choices=["lower", "higher"]).beside("lower")
    lk.predict_first("accuracy", choices=["lower", "higher"]).beside("lower")
    table = lk.my_predictions()
    assert table["predicted"].tolist() == ["lower", "higher"]
    assert "choices: 1 of 2 right" in capsys.readouterr().out


def test_text_that_is_no_number_is_named_and_asked_again(answers, capsys):
    answers("a lot", "", "nan", "inf", "7")
    assert lk.predict_first("Pre Acc", unit="%").predicted == 7
    said = capsys.readouterr().out.splitlines()
    assert said == [f"The prediction must be a number, such as 12.5, not {x!r}." for x in ("a lot", "", "nan", "inf")]
    answers("sideways", "up")
    assert lk.predict_first("way", choices=["up", "down"]).predicted == "up"
    assert capsys.readouterr().out == "The prediction must be one of up, down, not 'sideways'.\n"


def test_the_newer_prediction_counts_and_loses_the_old_result(answers):
    answers("1", "2")
    lk.predict_first("n").beside(3)
    lk.predict_first("n")
    assert lk.my_predictions().loc["n", ["predicted", "actual"]].tolist() == [2.0, None]


@pytest.mark.parametrize("error", [EOFError, OSError, NotImplementedError])
def test_where_nobody_can_answer_everything_goes_through(monkeypatch, folder, capsys, error):
    def refuse(prompt):
        raise error

    monkeypatch.setattr("builtins.input", refuse)
    lk.predict_first("Dep Acc", unit="%").beside(0.3)
    assert capsys.readouterr().out == "Dep Acc: 0.3 %\n"
    assert not list(folder.iterdir())


@pytest.mark.parametrize("name,value", [("LIRF_KIT_STATIC", "1"), ("LIRF_KIT_PREDICT", "0")])
def test_nobody_is_asked_if_the_environment_says_so(monkeypatch, answers, name, value):
    monkeypatch.setenv(name, value)
    answers()
    assert lk.predict_first("n").predicted is None


def test_a_student_may_skip(answers, folder):
    answers("Skip")
    assert lk.predict_first("n").predicted is None and not list(folder.iterdir())


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"n": 3}', '{"n": {"predicted": null}}'])
def test_a_damaged_file_is_named_and_kept_aside(answers, folder, capsys, content):
    for name in ("my-predictions-damaged.json", "my-predictions-damaged-2.json"):
        (folder / "my-predictions.json").write_text(content, encoding="utf-8")
        answers("5")
        lk.predict_first("n")
        assert (
            f"my-predictions.json was damaged. It is kept as {name}, and a new file begins." in capsys.readouterr().out
        )
        assert (folder / name).read_text(encoding="utf-8") == content
        assert lk.my_predictions().loc["n", "predicted"] == 5


def test_without_predictions_the_table_is_empty_and_says_so(capsys):
    assert len(lk.my_predictions()) == 0
    assert capsys.readouterr().out == "No predictions yet: a cell with lk.predict_first asks for one.\n"


def test_a_class_s_predictions_are_counted_question_by_question(folder, capsys):
    for number, (guess, way) in enumerate([(10.0, "up"), (20.0, "down"), (90.0, "up")]):
        (folder / f"student{number}").mkdir()
        content = {
            "Dep Acc": {"predicted": guess, "unit": "%", "actual": 0.5},
            "way": {"predicted": way, "actual": "up"},
        }
        (folder / f"student{number}" / "my-predictions.json").write_text(json.dumps(content), encoding="utf-8")
    (folder / "broken.json").write_text("{", encoding="utf-8")
    numbers, choices = lk.class_predictions(folder).axes
    assert capsys.readouterr().out.startswith("left out: ") and "broken.json" in str(list(folder.iterdir()))
    assert sum(bar.get_height() for bar in numbers.patches) == 3
    assert numbers.lines[0].get_xdata()[0] == 0.5 and numbers.get_title() == "Dep Acc"
    assert [bar.get_height() for bar in choices.patches] == [2, 1]
    assert [label.get_text() for label in choices.get_xticklabels()] == ["up", "down"]


def test_a_class_without_files_is_refused(folder):
    with pytest.raises(lk.LirfError, match="^folder must hold at least one prediction"):
        lk.class_predictions(folder)
    with pytest.raises(lk.LirfError, match="^folder must be a folder with the class's files, not 'nowhere'$"):
        lk.class_predictions("nowhere")
