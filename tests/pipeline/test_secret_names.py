"""Which names of parameters hold secrets, and which users are tokens."""

import pytest

from pipeline.secret_names import SIGNATURES, hides_token, is_companion, is_secret

SECRET = """
token Access_Token authToken key api_key apikey API-KEY x-api-key secret clientSecret password PASSWORD pwd auth
authorization sig Signature credential credentials session sessionid JSESSIONID jwt X-Amz-Date x-goog-expires
AWSAccessKeyId Expires Key-Pair-Id Policy OSSAccessKeyId x-oss-security-token q-sign-algorithm q-ak sslpassword
auth[token] token2 hdnts accessKey
"""
PLAIN = """
w h size page q author keyword monkey design signal sessions-count x-oss-process tokenizer keys passage crop user
username email bucket versionId response-content-type st se sv
"""


@pytest.mark.parametrize("name", SECRET.split())
def test_names_of_secrets(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize("name", PLAIN.split())
def test_other_names(name: str) -> None:
    assert not is_secret(name)


def test_azures_times_and_rights_belong_to_its_signature() -> None:
    assert "sig" in SIGNATURES
    assert is_companion("se")
    assert not is_companion("w")


def test_tokens_in_the_place_of_users() -> None:
    assert all(map(hides_token, ("ghp_abc", "AKIAIOSFODNN7EXAMPLE", "eyJhbGciOi", "0f1e2d3c4b5a69788796a5b4")))
    assert not any(map(hides_token, ("", "user", "postgres", "me@corp.com", "a-service-account-of-production")))
