"""Which parameters of a URL hold secrets, by their names, and which users are tokens."""

import re

_NAMES = """
token tokens key apikey secret secrets password passwd passphrase pass pwd pw auth authorization sig sign
signature credential credentials creds session sessionid jsessionid phpsessid sess jwt bearer otp hmac policy
expires authkey accesskey secretkey privatekey sharedkey subscriptionkey accesskeyid googleaccessid
ossaccesskeyid awsaccesskeyid keypairid upsig hdnts hdnea hdntl
"""
_WORDS = frozenset(_NAMES.split())
_ENDINGS = ("password", "passwd", "passphrase", "secret", "signature", "token", "apikey", "credential", "accesskeyid")
_SIGNING = ("xamz", "xgoog", "xossc", "xosss", "xossd", "xosse", "qsign", "qak", "qkeytime", "qsignature")
"""The schemes of Amazon, Google, Alibaba and Tencent; x-oss-process says how a picture is scaled and is no secret."""

SIGNATURES = frozenset({"sig", "hm"})
"""Parameters that turn others of their URL into parts of a signature: Azure's and Discord's."""
_SIGNED_WITH = """
sv st se sr sp sip spr ss srt sdd ses skoid sktid skt ske sks skv rscc rscd rsce rscl rsct saoid suoid scid ex
is hm
"""
_COMPANIONS = frozenset(_SIGNED_WITH.split())

_TOKENS = re.compile(r"(?:gh[a-z]_|github_pat_|glpat-|hf_|sk-|xox[a-z]-|AKIA|ASIA|eyJ|dapi|pypi-|npm_)")
_LONG = re.compile(r"(?=[^0-9]*[0-9])(?=[^A-Za-z]*[A-Za-z])[A-Za-z0-9_\-+/=%.~]{20,}\Z")


def is_secret(name: str) -> bool:
    """Whether the value of a query parameter is a secret: part of a signature, a token, a key, a password."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    words = [word.rstrip("0123456789") for word in re.split(r"[^a-z0-9]+", spaced.lower())]
    joined = "".join(words)
    if joined.startswith("xossprocess"):
        return False
    return (
        any(word in _WORDS for word in words)
        or joined in _WORDS
        or joined.endswith(_ENDINGS)
        or joined.startswith(_SIGNING)
    )


def is_companion(name: str) -> bool:
    """Whether a parameter belongs to the signature of a URL that has one: times, rights, versions."""
    return name.lower() in _COMPANIONS


def hides_token(user: str) -> bool:
    """Whether the user of a URL looks like a token, by its prefix or because it is long and mixed."""
    return _TOKENS.match(user) is not None or _LONG.match(user) is not None
