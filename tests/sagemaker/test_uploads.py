"""Where code and models go, how they are encrypted, and what the archives hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fastinfer.errors import ConfigError
from fastinfer.sagemaker.estimator import EstimatorOptions
from fastinfer.sagemaker.uploads import code_uri, upload_code, upload_model, upload_servable
from tests.sagemaker.fakes import Account, Put
from tests.sagemaker.test_cloud import archive, members

TRAINED = {"model-symbol.json": "{}", "model-0000.params": "x"}


@pytest.fixture
def options(script: str) -> EstimatorOptions:
    return EstimatorOptions(script)


@pytest.mark.parametrize(
    ("more", "output_path", "expected"),
    [
        # In the results' bucket, not below the results.
        ({}, "s3://results/a/b", "s3://results/job/source/sourcedir.tar.gz"),
        ({}, "/tmp/results", "/tmp/results/job/source/sourcedir.tar.gz"),
        ({"code_location": "s3://code/x/"}, "s3://results/a", "s3://code/x/job/source/sourcedir.tar.gz"),
        ({"source_dir": "s3://mine/code.tar.gz"}, "s3://results/a", "s3://mine/code.tar.gz"),
        ({"source_dir": "folder"}, "s3://results/a", "s3://results/job/source/sourcedir.tar.gz"),
    ],
)
def test_code_goes_to_its_location_else_to_the_results_bucket(
    more: dict[str, str], output_path: str, expected: str
) -> None:
    assert code_uri(EstimatorOptions("script.py", **more), "job", output_path) == expected


@pytest.mark.parametrize(
    ("uri", "output_path", "key"),
    [
        ("s3://results/job/x.tar.gz", "s3://results/a", "alias/mine"),
        ("s3://code/job/x.tar.gz", "s3://results/a", None),
        ("s3://code/job/x.tar.gz", "/tmp/results", None),
    ],
)
def test_code_is_encrypted_and_with_the_results_key_in_their_bucket_alone(
    uri: str, output_path: str, key: str | None, options: EstimatorOptions
) -> None:
    account = Account()
    options.output_kms_key = "alias/mine"
    upload_code(account, options, uri, output_path)
    assert account.puts == [Put(uri, key, True)]
    assert members(account.objects[uri]) == {"script.py": Path(options.entry_point).read_bytes()}
    assert f" to {uri}\n" in account.shown.getvalue()


def test_code_that_the_user_has_uploaded_is_not_uploaded_again() -> None:
    account = Account()
    options = EstimatorOptions("script.py", source_dir="s3://mine/code.tar.gz")
    upload_code(account, options, "s3://mine/code.tar.gz", "s3://results/a")
    assert (account.puts, account.shown.getvalue()) == ([], "")


def test_code_larger_than_its_limit_is_not_uploaded(options: EstimatorOptions) -> None:
    account = Account()
    options.max_code_bytes = 3
    with pytest.raises(ConfigError):
        upload_code(account, options, "s3://results/x.tar.gz", "s3://results/a")
    assert account.puts == []


def upload(account: Account, options: EstimatorOptions, **more: Any) -> dict[str, bytes]:
    arguments = {"code": None, "entry_point": None, "output_path": "s3://results/a"}
    uri = upload_model(account, options, "name", model="s3://results/model.tar.gz", **{**arguments, **more})
    assert account.puts[-1] == Put(uri, options.output_kms_key, True)
    return members(account.objects[uri])


@pytest.fixture
def account() -> Account:
    code = {"script.py": "trains", "helper.py": "helps"}
    return Account(
        {
            "s3://results/model.tar.gz": archive({**TRAINED, "code/old.py": "old"}),
            "s3://results/code.tar.gz": archive(code),
        }
    )


def test_a_model_is_uploaded_with_the_code_that_trained_it(account: Account, options: EstimatorOptions) -> None:
    options.output_kms_key = "alias/mine"
    found = upload(account, options, code="s3://results/code.tar.gz")
    assert sorted(found) == ["code/helper.py", "code/script.py", *sorted(TRAINED)]
    assert account.puts[0].uri == "s3://bucket/name/model.tar.gz"


def test_another_script_and_libraries_join_the_models_code(
    account: Account, options: EstimatorOptions, tmp_path: Path
) -> None:
    (tmp_path / "serve.py").write_text("serves")
    (tmp_path / "library.py").write_text("library")
    options.dependencies = [str(tmp_path / "library.py")]
    found = upload(account, options, code="s3://results/code.tar.gz", entry_point=str(tmp_path / "serve.py"))
    code = {name.partition("/")[2]: body for name, body in found.items() if name.startswith("code/")}
    assert code["serve.py"] == b"serves"
    assert b"library" in code.values()
    assert b"old" not in code.values()


@pytest.mark.parametrize(
    ("location", "output_path", "expected"),
    [
        (None, "s3://results/a", "s3://bucket/name/model.tar.gz"),
        (None, "/tmp/results/", "/tmp/results/name/model.tar.gz"),
        ("s3://code/x", "s3://results/a", "s3://code/x/name/model.tar.gz"),
        ("s3://code/x", "/tmp/results", "s3://code/x/name/model.tar.gz"),
    ],
)
def test_a_model_goes_to_the_codes_location_else_to_the_default_bucket_or_the_local_folder(
    location: str | None, output_path: str, expected: str, account: Account, options: EstimatorOptions
) -> None:
    options.code_location = location
    upload(account, options, output_path=output_path)
    assert account.puts[0].uri == expected


def test_a_model_that_has_the_default_module_is_served_from_where_it_is() -> None:
    model = "s3://mine/model.tar.gz"
    account = Account({model: archive({**TRAINED, "code/inference.py": "x", "code/more.py": "y"})})
    assert upload_servable(account, model, "name") == (model, "inference.py")
    assert account.puts == []


@pytest.mark.parametrize("code", [{}, {"code/requirements.txt": "x"}])
def test_a_model_without_modules_gets_an_empty_one_and_keeps_what_it_has(code: dict[str, str]) -> None:
    model = "s3://mine/model.tar.gz"
    account = Account({model: archive({**TRAINED, **code})})
    uri = "s3://bucket/name/model.tar.gz"
    assert upload_servable(account, model, "name") == (uri, "inference.py")
    assert account.puts == [Put(uri, None, True)]
    found = members(account.objects[uri])
    assert found.pop("code/inference.py") == b""
    assert found == {name: body.encode() for name, body in {**TRAINED, **code}.items()}


def test_of_other_modules_the_user_has_to_name_one() -> None:
    model = "s3://mine/model.tar.gz"
    account = Account({model: archive({**TRAINED, "code/mine.py": "x"})})
    with pytest.raises(ConfigError) as caught:
        upload_servable(account, model, "name")
    assert (caught.value.code, caught.value.path) == ("bad_option", model)
    assert "none of the name inference.py" in str(caught.value)
    assert account.puts == []
