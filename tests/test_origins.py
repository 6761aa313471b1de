"""Origins as browsers send them, everything else refused in words, patterns that match nothing but
their own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import ada_url
import publicsuffixlist
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.core.origins import (
    BAD_PORTS,
    Origin,
    OriginError,
    OriginPattern,
    domain_of,
    look_alikes,
    loopback_twin,
    origin_notes,
    parse_origin,
    parse_pattern,
    site_of,
)

GOLDEN = Path(__file__).parent / "golden" / "origins"

# What a person may type -> what a browser sends.
FIXABLE = {
    "https://app.example.com": "https://app.example.com",
    "https://app.example.com/": "https://app.example.com",
    "  https://app.example.com\t": "https://app.example.com",
    "https://app.example.com\n": "https://app.example.com",
    "https://app.example.com\r": "https://app.example.com",
    "https://app.example.com/\r\n": "https://app.example.com",
    "https://app.example.com \n": "https://app.example.com",
    "HTTPS://APP.Example.COM": "https://app.example.com",
    "https://app.example.com:443": "https://app.example.com",
    "https://app.example.com:443/": "https://app.example.com",
    "http://app.example.com:80": "http://app.example.com",
    "http://app.example.com:443": "http://app.example.com:443",
    "https://app.example.com:80": "https://app.example.com:80",
    "https://app.example.com:8443": "https://app.example.com:8443",
    "http://app.example.com:65535": "http://app.example.com:65535",
    "http://8.8.8.8": "http://8.8.8.8",
    "http://8.8.8.8:3000": "http://8.8.8.8:3000",
    "http://[2600:1F18:0:0:0:0:0:1]": "http://[2600:1f18::1]",
    "http://[2600:1f18:0:1::0001]:8080": "http://[2600:1f18:0:1::1]:8080",
    "http://[2600:0:0:1:0:0:0:1]:80": "http://[2600:0:0:1::1]",
    "http://[2600:1:0:1:1:1:1:1]": "http://[2600:1:0:1:1:1:1:1]",
    "https://bücher.example.com": "https://xn--bcher-kva.example.com",
    "https://BÜCHER.example.com": "https://xn--bcher-kva.example.com",
    "https://bu\u0308cher.example.com": "https://xn--bcher-kva.example.com",
    "https://faß.de": "https://xn--fa-hia.de",
    "https://xn--bcher-kva.example.com": "https://xn--bcher-kva.example.com",
    "https://qa--shop.netlify.app": "https://qa--shop.netlify.app",
    "https://R3---sn-abc.example.com": "https://r3---sn-abc.example.com",
    "https://XN--BCHER-KVA.example.com": "https://xn--bcher-kva.example.com",
    "https://пример.рф": "https://xn--e1afmkfd.xn--p1ai",
    "https://日本語.jp": "https://xn--wgv71a119e.jp",
    "https://ひらがなカタカナ漢字ー.jp": "https://xn--v8j0cwa6gzha3lrd4vw116aqrzb.jp",
    "https://한국.kr": "https://xn--3e0b707e.kr",
    "https://مثال.com": "https://xn--mgbh0fb.com",
    "https://βόλος.gr": "https://xn--nxasmm1c.gr",
    "https://a.b-c.d--e.example.com": "https://a.b-c.d--e.example.com",
    "https://0.example.com": "https://0.example.com",
    "https://ec2-54-0-0-1.us-west-2.compute.amazonaws.com": (
        "https://ec2-54-0-0-1.us-west-2.compute.amazonaws.com"
    ),
    f"https://{'a' * 63}.com": f"https://{'a' * 63}.com",
}
# In development only -> what a browser sends.
FIXABLE_IN_DEVELOPMENT = {
    "http://localhost": "http://localhost",
    "http://LOCALHOST:8080/": "http://localhost:8080",
    "http://127.0.0.1:9000": "http://127.0.0.1:9000",
    "http://[0:0:0:0:0:0:0:1]:3000": "http://[::1]:3000",
    "http://10.213.7.10": "http://10.213.7.10",
    "http://192.168.1.20:3000": "http://192.168.1.20:3000",
    "http://frontend:3000": "http://frontend:3000",
    "http://app.shop.test": "http://app.shop.test",
    "http://app.localhost:8000": "http://app.localhost:8000",
    "http://[fd00::1]:3000": "http://[fd00::1]:3000",
    "https://bücher.test": "https://xn--bcher-kva.test",
}

# Refused in every environment: what was written -> the words that the error must hold.
REFUSED = {
    # nothing there, or not text
    "": "empty",
    "   ": "empty",
    "\n": "empty",
    "None": "unset variable",
    "undefined": "unset variable",
    "true": "unset variable",
    "http://": "no host",
    "https:///": "no host",
    "https:///app.example.com": (
        "no host after '://' (was a variable or an output empty?); write https://app.example.com"
    ),
    "http://:8080": "no host",
    "http://?": "no host",
    "http://None": "unset variable",
    "http://null:3000": "unset variable",
    "https://undefined.example.com": "unset variable",
    # scheme
    "app.example.com": "no scheme; write http://app.example.com or https://app.example.com",
    "app.example.com:8080": "write http://app.example.com:8080 or https://app.example.com:8080",
    "app.example.com/login": "no scheme; write http://app.example.com",
    "//app.example.com": "no scheme; write http://app.example.com",
    "://app.example.com": "no scheme; write http://app.example.com",
    "localhost": "no scheme; write",
    "localhost:3000": "no scheme; write",
    "8.8.8.8": "no scheme; write http://8.8.8.8 or",
    "8.8.8.8:3000": "no scheme; write http://8.8.8.8:3000 or",
    "2600:1f18::1": "no scheme; write http://[2600:1f18::1] or",
    "abcd:ef01::1": "no scheme",
    "[2600:1f18::1]:80": "no scheme; write http://[2600:1f18::1] or",
    "http:app.example.com": "no '://' after its scheme; write http://app.example.com",
    "https:/app.example.com": "write https://app.example.com",
    "https//app.example.com": "write https://app.example.com",
    "https;//app.example.com": "several values",
    "ws://app.example.com": "write http://app.example.com",
    "wss://app.example.com": "write https://app.example.com",
    "ftp://app.example.com": "the scheme 'ftp'",
    "htps://app.example.com": "the scheme 'htps'",
    "file://": "no origin",
    "file:///srv/index.html": "no origin",
    "capacitor://localhost": "add capacitor://localhost to app_origins",
    "chrome-extension://abcdefghijklmnop": "to app_origins",
    "javascript:alert(1)": "the scheme 'javascript'",
    "mailto:admin": "the scheme 'mailto'",
    "about:blank": "the scheme 'about'",
    "blob:https://app.example.com": "the scheme 'blob'",
    # path, query, fragment
    "https://app.example.com/login": (
        "a path ('/login'), which no origin has; write https://app.example.com"
    ),
    "https://app.example.com//": "a path",
    "https://app.example.com/index.html": "a path",
    "https://app.example.com/.": "a path",
    "https://app.example.com?": "a query",
    "https://app.example.com?x=1": "a query, which no origin has; write https://app.example.com",
    "https://app.example.com/?x": "a query",
    "https://app.example.com#": "a fragment",
    "https://app.example.com/#/login": "a fragment",
    "https://app.example.com/a?b#c": "a path ('/a') and a query and a fragment",
    "https://APP.example.com:443/login": "write https://app.example.com",
    "https://app.example.com:8443/x": "write https://app.example.com:8443",
    # userinfo
    "https://admin@app.example.com": (
        "user or password before the '@', which origins never hold; write https://app.example.com"
    ),
    "https://@app.example.com": "user or password",
    "https://app.example.com\\@evil.com": "user or password",
    "https://app.example.com/@evil": "user or password",
    "https://admin%40app.example.com": "user or password",
    "https://admin＠app.example.com": "user or password",
    # port
    "https://app.example.com:": "an empty port",
    "https://app.example.com:/": "an empty port",
    "https://app.example.com:0": "port 0; write one from 1",
    "https://app.example.com:00": "port 00; write one from 1",
    "https://app.example.com:080": "zero-padded port; browsers write 80",
    "https://app.example.com:0443": "zero-padded port; browsers write 443",
    "https://app.example.com:65536": "port 65536; write one from 1 to 65535",
    "https://app.example.com:99999999999999999999999": "from 1 to 65535",
    "https://app.example.com:http": "port 'http', not a number",
    "https://app.example.com:80a": "port '80a', not a number",
    "https://app.example.com:-1": "port '-1'",
    "https://app.example.com:+80": "port '+80'",
    "https://app.example.com:8_0": "not a number",
    "https://app.example.com:٨٠": "not a number",
    "https://app.example.com:８０": "compatibility character U+FF18",
    "https://app.example.com:80:80": "more than one ':'",
    "http://app.example.com:6000": "browsers block",
    "http://app.example.com:10080": "browsers block",
    "http://localhost:6667": "browsers block",
    "http://localhost:22": "browsers block",
    # wildcards and null
    "*": "every origin",
    "https://*": "wildcard",
    "https://*.example.com": "wildcard",
    "http://localhost:*": "wildcard",
    "*.example.com": "wildcard",
    "null": "never allowed",
    "NULL": "never allowed",
    "'null'": "quotation mark",
    # several values, lists, blanks inside
    "https://a.example.com,https://b.example.com": "several values",
    "https://a.example.com, https://b.example.com": "several values",
    "https://a.example.com;https://b.example.com": "several values",
    "https://a.example.com|https://b.example.com": "several values",
    "https://a.example.com https://b.example.com": "several values",
    "https://a.example.comhttps://b.example.com": "several values",
    "https://a.example.com\nhttps://b.example.com": "line break",
    "https://a.example.com\n\n": "line break",
    "\nhttps://a.example.com": "line break",
    "https://a.example.com,": "several values",
    "[https://a.example.com]": "several values",
    "['https://a.example.com']": "quotation mark",
    "- https://a.example.com": "blank",
    "https://app.example.com :8080": "blank",
    "https:// app.example.com": "blank",
    "https://app\t.example.com": "blank",
    # quotes
    '"https://app.example.com"': "quotation mark",
    "'https://app.example.com'": "quotation mark",
    "`https://app.example.com`": "quotation mark",
    "“https://app.example.com”": "quotation mark",
    "https://app.example.com'": "quotation mark",
    # templates, unset variables, Pulumi
    "https://${HOST}": "template",
    "https://$HOST": "template",
    "$FRONTEND_ORIGIN": "template",
    "https://{{ host }}": "template",
    "https://{host}": "template",
    "https://<host>": "template",
    "<your-frontend-origin>": "template",
    "https://%HOST%": "template",
    "%(origin)s": "template",
    "https://%s": "template",
    "http://Calling __str__ on an Output[T] is not supported.\n\nTo get the value": (
        "unresolved Pulumi output"
    ),
    "http://Calling [toString] on an [Output<T>] is not supported.": "unresolved Pulumi output",
    "<pulumi.output.Output object at 0x7f0000000000>": "unresolved Pulumi output",
    "http://04da6b54-80e4-46f7-96ec-b56ff0331ba9": "unresolved Pulumi output",
    "[secret]": "Pulumi's mask",
    "http://[secret]": "Pulumi's mask",
    # IPv4 in odd spellings
    "http://127.1": "odd spelling of 127.0.0.1",
    "http://0x7f000001": "odd spelling of 127.0.0.1",
    "http://2130706433": "odd spelling of 127.0.0.1",
    "http://0x7f.0.0.1": "odd spelling of 127.0.0.1",
    "http://127.000.000.001": "odd spelling of 127.0.0.1",
    "http://052.023.045.067": "odd spelling of 42.19.37.55",
    "http://017700000001": "odd spelling of 127.0.0.1",
    "http://8.8.8.0x8": "odd spelling of 8.8.8.8",
    "http://8.8.8.08": "no IPv4 address",
    "http://8.8.8.256": "no IPv4 address",
    "http://256.8.8.8": "no IPv4 address",
    "http://8.8.8.8.8": "no IPv4 address",
    "http://app.123": "no IPv4 address",
    "http://app.0x": "no IPv4 address",
    "http://4294967296": "no IPv4 address",
    "http://8.8.8.8.": "trailing dot",
    "http://0.0.0.0:8000": "where servers listen",
    "http://0.1.2.3": "where servers listen",
    "http://224.0.0.1": "multicast",
    "http://255.255.255.255": "multicast or broadcast",
    # IPv6
    "http://2600:1f18::1": "without brackets; write http://[2600:1f18::1]",
    "http://[2600:1f18::1": "stray bracket",
    "http://2600:1f18::1]": "stray bracket",
    "http://[2600:1f18::1]8080": "stray bracket",
    "http://[[2600:1f18::1]]": "stray bracket",
    "http://[app.example.com]": "no valid IPv6",
    "http://[]": "no valid IPv6",
    "http://[1.2.3.4]": "no valid IPv6",
    "http://[2600::1::1]": "no valid IPv6",
    "http://[2600:1f18::12345]": "no valid IPv6",
    "http://[2600:1f18::1]:": "empty port",
    "http://[fe80::1%eth0]": "zone id",
    "http://[fe80::1%25eth0]:80": "zone id",
    "http://[::ffff:127.0.0.1]": "inside an IPv6 one; write 127.0.0.1",
    "http://[::ffff:8.8.8.8]": "inside an IPv6 one; write 8.8.8.8",
    "http://[::ffff:7f00:1]:8080": "inside an IPv6 one; write 127.0.0.1",
    "http://[::8.8.8.8]": "inside an IPv6 one; write 8.8.8.8",
    "http://[::]:8000": "where servers listen",
    "http://[ff02::1]": "multicast",
    # invisible, compatibility and mixed characters
    "https://app\u200b.example.com": "U+200B ZERO WIDTH SPACE",
    "\ufeffhttps://app.example.com": "U+FEFF",
    "https://app.example.com\u00a0": "U+00A0 NO-BREAK SPACE",
    "https://app\u00ad.example.com": "U+00AD SOFT HYPHEN",
    "https://\u202eapp.example.com": "U+202E",
    "https://a\u2066pp.example.com": "U+2066",
    "https://a\u200dpp.example.com": "U+200D",
    "https://app\ufe0f.example.com": "U+FE0F",
    "https://app\u034f.example.com": "U+034F",
    "https://app\u3164.example.com": "U+3164",
    "https://app.example.com\u2028": "U+2028",
    "https://app\x00.example.com": "U+0000",
    "https://app\x1b.example.com": "U+001B",
    "https://app.example.com\x7f": "U+007F",
    "https://app.example.com\x0b": "U+000B",
    "https://app\ud800.example.com": "U+D800",
    "https://\uffff.example.com": "U+FFFF",
    "https://ａｐｐ.example.com": "compatibility character U+FF41",
    "ｈttps://app.example.com": "compatibility character U+FF48",
    "https：//app.example.com": "compatibility character U+FF1A",
    "https://app．example.com": "compatibility character U+FF0E",
    "https://app。example.com": "write a plain dot",
    "https://ﬁ.example.com": "compatibility character U+FB01",
    "https://①.example.com": "compatibility character U+2460",
    "https://\N{KELVIN SIGN}.example.com": "compatibility character U+212A",
    "https://℀.example.com": "compatibility character U+2100",
    "https://𝐚pp.example.com": "compatibility character U+1D41A",
    "https://аpp.example.com": (
        "mixes scripts within one label (U+0430 CYRILLIC SMALL LETTER A, U+0070"
    ),
    "https://exαmple.com": "mixes scripts",
    "https://exampΙe.com": "mixes scripts",
    "https://googlе.com": "mixes scripts",
    "https://аβ.com": "mixes scripts",
    "https://日本a.jp": "mixes scripts",
    "https://日本한국.kr.カ한": "mixes scripts",
    "https://☃.example.com": "no valid international name",
    "https://app–1.example.com": "no valid international name",
    "https://1א.com": "no valid international name",
    "https://1a.אב": "no valid international name",
    "https://\u0301app.com": "no valid international name",
    "https://١٢٧.٠.٠.١": "no valid international name",
    f"https://{'ü' * 70}.com": "no valid international name",
    # names
    "https://app_1.example.com": "underscore",
    "https://_.example.com": "underscore",
    "https://app.example.com.": "trailing dot",
    "https://app.example.com.:8080": "trailing dot",
    "https://.": "trailing dot",
    "https://.example.com": "empty label",
    "https://app..example.com": "empty label",
    "https://-app.example.com": "hyphen at its start or end",
    "https://app-.example.com": "hyphen at its start or end",
    "https://-": "hyphen at its start or end",
    "https://xn--.example.com": "hyphen at its start or end",
    "https://xn--a.example.com": "no valid xn-- label",
    "https://xn--zzzzzzzz.example.com": "no valid xn-- label",
    "https://xn--abc-.example.com": "hyphen at its start or end",
    "https://xn--FA-hia\u00df.example.com": "no valid international name",
    "https://xn--n3h.example.com": "no valid xn-- label",
    f"https://{'a' * 64}.com": "of 64 characters; labels have at most 63",
    f"https://{'.'.join(['a' * 49] * 6)}.com": "a host of 303 characters",
    f"https://app.example.com/{'a' * 2000}": "has 2024 characters",
    "https://app%2eexample.com": "percent sign",
    "https://b%C3%BCcher.example.com": "percent sign",
    "https://app!.example.com": "has '!' in its host",
    "https://app=.example.com": "has '=' in its host",
    "https://app~.example.com": "has '~' in its host",
    "https://app&.example.com": "has '&' in its host",
    "https://(app).example.com": "has '(' in its host",
    "https://app^.example.com": "has '^' in its host",
    "https://app+1.example.com": "has '+' in its host",
    "https:\\\\app.example.com": "backslash",
    "https://app\\.example\\.com": "backslash",
    # what would break out of an nginx or Python string
    'https://app.example.com" "x': "quotation mark",
    "https://app.example.com;}": "template",
    "https://app.example.com$foo": "template",
    "https://app.example.com\\": "backslash",
    "https://app.example.com'+__import__": "quotation mark",
    "https://app.example.com#comment": "a fragment",
}

# Fine in development, refused in production.
REFUSED_IN_PRODUCTION = {
    "http://localhost:8080": "single label 'localhost'",
    "http://frontend": "single label 'frontend'",
    "http://app.localhost": ".localhost",
    "http://127.0.0.1": "a loopback address",
    "http://127.8.8.8:3000": "a loopback address",
    "http://[::1]": "a loopback address",
    "http://10.0.1.25": "a private address; did you export private_ip instead of public_ip?",
    "http://172.16.0.1": "a private address",
    "http://172.31.255.255": "a private address",
    "http://192.168.1.1:3000": "a private address",
    "http://[fd00::1]": "a private address",
    "http://[fc00::1]": "a private address",
    "http://[fec0::1]": "a private address",
    "http://169.254.169.254": "a link-local address",
    "http://[fe80::1]": "a link-local address",
    "http://100.64.0.1": "a shared address",
    "http://100.127.255.255": "a shared address",
    "http://192.0.2.1": "a documentation address",
    "http://198.51.100.7": "a documentation address",
    "http://203.0.113.7:8080": "a documentation address",
    "http://[2001:db8::1]": "a documentation address",
    "http://[3fff::1]": "a documentation address",
    "http://198.18.0.1": "a benchmarking address",
    "http://192.0.0.8": "a reserved address",
    "http://240.0.0.1": "a reserved address",
    "http://[2001:10::1]": "a reserved address",
    "http://[100::1]": "not globally reachable",
    "http://[4000::1]": "not globally reachable",
    "http://[5f00::1]": "not globally reachable",
    "http://[2002:a00:1::1]": "6to4",
    "http://[2001:0:1::1]": "Teredo",
    "http://[64:ff9b::a00:1]": "NAT64",
    "http://[64:ff9b:1::1]": "NAT64",
    "http://192.88.99.1": "6to4",
    "http://app.local": ".local",
    "http://ip-10-0-1-25.ec2.internal": ".internal",
    "http://app.localdomain": ".localdomain",
    "http://app.shop.test": ".test",
    "https://app.example": ".example",
    "https://app.invalid": ".invalid",
    "http://app.onion": ".onion",
    "http://app.alt": ".alt",
    "http://nas.home.arpa": ".home.arpa",
    "http://nas.lan": ".lan",
    "http://nas.corp": ".corp",
    "http://nas.home": ".home",
    "http://wiki.intranet": ".intranet",
}


def refusal(text: str, production: bool) -> str:
    """The error of `parse_origin`, which must be one line of moderate length."""
    with pytest.raises(OriginError) as caught:
        parse_origin(text, production=production)
    message = str(caught.value)
    assert message.isascii() and message.isprintable() and len(message) < 420, message
    return message


def accepted(text: str, production: bool = False) -> Origin | None:
    try:
        return parse_origin(text, production=production)
    except OriginError:
        return None


@pytest.mark.parametrize("production", [False, True])
@pytest.mark.parametrize(("text", "sent"), FIXABLE.items(), ids=ascii)
def test_normalised(text: str, sent: str, production: bool) -> None:
    """A harmless spelling becomes what the browser sends."""
    assert str(parse_origin(text, production=production)) == sent


@pytest.mark.parametrize(("text", "sent"), FIXABLE_IN_DEVELOPMENT.items(), ids=ascii)
def test_normalised_in_development(text: str, sent: str) -> None:
    """In development addresses and names of this machine and network are origins, in production
    never."""
    assert str(parse_origin(text, production=False)) == sent
    refusal(text, production=True)


@pytest.mark.parametrize(("text", "phrase"), REFUSED.items(), ids=lambda value: ascii(value)[:60])
def test_refused(text: str, phrase: str) -> None:
    """What no browser sends, or nobody meant, is refused in words that name the part, in every
    environment."""
    assert phrase in refusal(text, production=False)
    refusal(text, production=True)


@pytest.mark.parametrize(("text", "phrase"), REFUSED_IN_PRODUCTION.items(), ids=ascii)
def test_refused_in_production(text: str, phrase: str) -> None:
    """What the internet cannot reach is an origin in development only."""
    assert phrase in refusal(text, production=True)
    parse_origin(text, production=False)


def test_table_is_large() -> None:
    """The table of bad inputs stays a table, not a handful."""
    assert len(REFUSED) + len(REFUSED_IN_PRODUCTION) > 220


@pytest.mark.parametrize(
    "value", [None, 3000, 1.5, True, ["https://a.example.com"], {"a": 1}, b"https://a.example.com"]
)
def test_not_text(value: object) -> None:
    """A YAML value that is no text is an OriginError too."""
    with pytest.raises(OriginError, match="not text; write an origin in quotes"):
        parse_origin(value, production=False)  # type: ignore[arg-type]
    with pytest.raises(OriginError, match="not text"):
        parse_pattern(value, production=False)  # type: ignore[arg-type]


@pytest.mark.parametrize("port", sorted(BAD_PORTS))
def test_blocked_ports(port: int) -> None:
    """Each port that browsers block is refused by name."""
    assert "browsers block" in refusal(f"http://app.example.com:{port}", production=True)


def test_browser_agrees() -> None:
    """`new URL(x).origin`, recorded from Chromium, is what the kit makes of every spelling that it
    accepts."""
    recorded = json.loads((GOLDEN / "chromium.json").read_text())
    accepted_texts = [*FIXABLE, *FIXABLE_IN_DEVELOPMENT, *REFUSED_IN_PRODUCTION]
    assert {text: str(parse_origin(text, production=False)) for text in accepted_texts} == recorded


# ---- the value Origin


def test_ordering() -> None:
    """Origins sort with and without a port."""
    texts = [
        "https://b.example.com",
        "http://b.example.com:8080",
        "http://b.example.com",
        "http://a.example.com:81",
    ]
    ordered = sorted(parse_origin(text, production=False) for text in texts)
    assert [str(origin) for origin in ordered] == [texts[3], texts[2], texts[1], texts[0]]
    assert all(a < b and b > a for a, b in pairwise(ordered))


@pytest.mark.parametrize(
    ("text", "is_ip", "is_loopback"),
    [
        ("http://localhost:3000", False, True),
        ("http://app.localhost", False, True),
        ("http://127.0.0.1", True, True),
        ("http://[::1]:80", True, True),
        ("http://10.0.0.1", True, False),
        ("https://app.example.com", False, False),
        ("https://notlocalhost.com", False, False),
    ],
)
def test_kinds_of_hosts(text: str, is_ip: bool, is_loopback: bool) -> None:
    """An origin knows whether its host is an address, and whether it is this machine."""
    origin = parse_origin(text, production=False)
    assert (origin.is_ip, origin.is_loopback) == (is_ip, is_loopback)


def test_loopback_twins() -> None:
    """`localhost` and `127.0.0.1` are each other's twin with the same scheme and port; nothing else
    has one."""
    localhost, number = Origin("http", "localhost", 8080), Origin("http", "127.0.0.1", 8080)
    assert loopback_twin(localhost) == number and loopback_twin(number) == localhost
    assert loopback_twin(Origin("http", "[::1]", None)) is None
    assert loopback_twin(Origin("https", "app.example.com", None)) is None


def test_notes() -> None:
    """One half of the pair without the other is worth a note; both, or neither, is not."""
    localhost, number = Origin("http", "localhost", 8080), Origin("http", "127.0.0.1", 8080)
    assert origin_notes([localhost, localhost]) == [
        "`localhost` and `127.0.0.1` are two origins: add http://127.0.0.1:8080 if the page of"
        " http://localhost:8080 is opened under that name too"
    ]
    assert len(origin_notes([localhost, Origin("http", "127.0.0.1", 9000)])) == 2
    assert origin_notes([localhost, number, Origin("https", "app.example.com", None)]) == []


def test_import_is_fast() -> None:
    """Importing the module loads neither the suffix list nor the IDNA tables nor Pulumi."""
    script = (
        "import sys, infra.core.origins; print([m for m in ('idna', 'publicsuffixlist', 'pulumi')"
        " if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


# ---- properties

unhurried = settings(deadline=None)  # the first example loads the IDNA tables or the suffix list

LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
NAMES = st.lists(LABELS, min_size=1, max_size=4).map(".".join)
INTERNATIONAL = st.text(
    st.characters(categories=["Ll", "Lu", "Lo", "Mn", "Nd"]), min_size=1, max_size=8
)
IPV4S = st.ip_addresses(v=4).map(str)
IPV6S = st.ip_addresses(v=6).map(lambda address: f"[{address.exploded.upper()}]")
HOSTS = st.one_of(NAMES, IPV4S, IPV6S, INTERNATIONAL.map(lambda label: f"{label}.example.com"))
PORTS = st.one_of(st.just(""), st.integers(0, 70_000).map(lambda port: f":{port}"))
PLAUSIBLE = st.builds(
    lambda scheme, host, port, end: f"{scheme}://{host}{port}{end}",
    st.sampled_from(["http", "https", "HTTPS", "Http"]),
    HOSTS,
    PORTS,
    st.sampled_from(["", "/", "\n", " "]),
)
WILD = st.text(max_size=40).flatmap(
    lambda text: st.sampled_from(
        [text, f"https://{text}", f"https://a.example.com{text}", f"http://{text}.com"]
    )
)
ANYTHING = st.one_of(PLAUSIBLE, WILD)
# Independent of the parser: the whole alphabet of a serialised origin.
SERIALISED = re.compile(r"https?://([a-z0-9.-]+|\[[0-9a-f:]+\])(:[1-9][0-9]{0,4})?")


@unhurried
@given(ANYTHING, st.booleans())
def test_accepted_is_serialised_and_stable(text: str, production: bool) -> None:
    """Whatever is accepted has only an origin's characters, and parses to itself again."""
    if origin := accepted(text, production):
        assert SERIALISED.fullmatch(str(origin))
        assert parse_origin(str(origin), production=production) == origin
        assert hash(parse_origin(str(origin).upper(), production=production)) == hash(origin)


@unhurried
@given(ANYTHING)
def test_a_url_parser_agrees(text: str) -> None:
    """Ada, which parses URLs as browsers do (WHATWG URL standard), makes the same origin of every
    text that is accepted."""
    if origin := accepted(text, production=False):
        assert ada_url.URL(text.strip()).origin == str(origin)
        assert ada_url.URL(str(origin)).origin == str(origin)


@unhurried
@given(ANYTHING)
def test_production_is_stricter(text: str) -> None:
    """What production accepts, development accepts as the same origin."""
    if origin := accepted(text, production=True):
        assert parse_origin(text, production=False) == origin


@unhurried
@given(ANYTHING)
def test_refusals_are_one_printable_line(text: str) -> None:
    """Any refusal, whatever was typed, is one short line of printable ASCII."""
    for production in (False, True):
        if accepted(text, production) is None:
            refusal(text, production)


USERS = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
PASSWORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20).map(
    lambda text: f"hunter2{text}hunter2"
)


@unhurried
@given(
    st.sampled_from(["https://", "http://", "ftp://", "//", "", " https://"]),
    USERS,
    PASSWORDS,
    st.sampled_from(["@", "%40", "＠"]),
    st.one_of(HOSTS, st.just("")),
    st.sampled_from(["", "/", "/x?y", ",z", "\n"]),
)
def test_no_password_is_shown(
    start: str, user: str, password: str, at: str, host: str, end: str
) -> None:
    """No error holds the password, or any part of one that is cut by a slash, a quote or another
    '@'."""
    text = f"{start}{user}:{password}{at}{host}{end}"
    for parse in (parse_origin, parse_pattern):
        with pytest.raises(OriginError) as caught:
            parse(text, production=False)
        assert "hunter2" not in str(caught.value)
        assert caught.value.__cause__ is None and caught.value.__suppress_context__


def test_no_query_is_shown() -> None:
    """A query or fragment may hold a token, so it is cut from errors."""
    for mark in "?#":
        assert "hunter2" not in refusal(
            f"https://app.example.com/{mark}token=hunter2", production=False
        )


# ---- look-alikes

ORIGINS = [
    "https://app.example.com",
    "http://app.example.com:8080",
    "http://8.8.8.8",
    "http://8.8.8.8:3000",
    "http://[2600:1f18::1]:8080",
    "http://localhost:3000",
    "http://a",
    "https://xn--bcher-kva.example.com",
]


@pytest.mark.parametrize("text", ORIGINS)
def test_look_alikes(text: str) -> None:
    """Look-alikes are many, distinct, never the origin, and each travels unchanged in one header
    line."""
    values = look_alikes(parse_origin(text, production=False))
    assert len(values) > 100 and len(set(values)) == len(values) and text not in values
    assert all(value == value.strip(" \t") and not set(value) & set("\r\n\0") for value in values)
    assert all(value.encode("latin-1").decode("latin-1") == value for value in values)


@pytest.mark.parametrize("text", ORIGINS)
def test_look_alikes_differ_as_origins(text: str) -> None:
    """No value of the list but another spelling of the same origin parses to it; those no browser
    sends."""
    origin = parse_origin(text, production=False)
    same = [value for value in look_alikes(origin) if accepted(value) == origin]
    default = {"http": 80, "https": 443}[origin.scheme]
    assert {value.lower() for value in same} <= {text, f"{text}/", f"{text}:{default}"}


@pytest.mark.parametrize(
    "value",
    [
        "https://evilapp.example.com",
        "https://evil.app.example.com",
        "https://app.example.com.evil.example",
        "https://appxexample.com",
        "HTTPS://APP.EXAMPLE.COM",
        "https://app.example.com:444",
        "http://app.example.com",
        "null",
        "https://app.example.com.",
        "https://user:pass@app.example.com",
        "https://app.example.com\x01",
        "https://app.example.com:443",
        "https://example.com",
        "https://app.example.com/",
        "https://app.example.com`.evil.example",
    ],
)
def test_look_alikes_hold_every_kind(value: str) -> None:
    """Prefix, suffix, dot, case, port, scheme, sub-domain, `null`, userinfo, special and control
    bytes are there."""
    assert value in look_alikes(parse_origin("https://app.example.com", production=True))


# ---- patterns

# OriginPattern as written -> its canonical text, origins of it, strings that are not.
PATTERNS = {
    "https://{branch}.preview.example.com": (
        "https://{branch}.preview.example.com",
        [
            "https://a.preview.example.com",
            "https://0.preview.example.com",
            "https://my-branch-1.preview.example.com",
            f"https://{'a' * 63}.preview.example.com",
            "https://a--b.preview.example.com",
        ],
        [
            "https://preview.example.com",
            "https://.preview.example.com",
            "https://a.b.preview.example.com",
            "https://-a.preview.example.com",
            "https://a-.preview.example.com",
            "https://A.preview.example.com",
            f"https://{'a' * 64}.preview.example.com",
            "https://a_b.preview.example.com",
            "https://a.preview.example.com:443",
            "https://a.preview.example.com:8443",
            "http://a.preview.example.com",
            "https://a.previewxexample.com",
            "https://a.preview.example.com.evil.com",
            "https://a.preview.example.com\n",
            "https://a.preview.example.com/",
            "xhttps://a.preview.example.com",
            "https://evil.com/a.preview.example.com",
            "https://ü.preview.example.com",
            "https://evil.com#.preview.example.com",
            "https://a@b.preview.example.com",
            "null",
            "",
            "https://{branch}.preview.example.com",
        ],
    ),
    "HTTPS://PR-{n}.Preview.Example.com:8443/": (
        "https://pr-{n}.preview.example.com:8443",
        [
            "https://pr-1.preview.example.com:8443",
            "https://pr-a-b.preview.example.com:8443",
            f"https://pr-{'1' * 60}.preview.example.com:8443",
        ],
        [
            "https://pr-.preview.example.com:8443",
            "https://pr--1.preview.example.com:8443",
            "https://pr1.preview.example.com:8443",
            f"https://pr-{'1' * 61}.preview.example.com:8443",
            "https://pr-1.preview.example.com",
            "https://xpr-1.preview.example.com:8443",
            "https://pr-1.preview.example.com:84430",
        ],
    ),
    "https://{branch}-shop.example.com:443\n": (
        "https://{branch}-shop.example.com",
        ["https://a-shop.example.com", "https://a-b-shop.example.com"],
        [
            "https://-shop.example.com",
            "https://shop.example.com",
            "https://a.shop.example.com",
            "https://a--shop.example.com",
        ],
    ),
    "https://api.{branch}.bücher.example.com": (
        "https://api.{branch}.xn--bcher-kva.example.com",
        ["https://api.x.xn--bcher-kva.example.com"],
        [
            "https://x.xn--bcher-kva.example.com",
            "https://api.x.bücher.example.com",
            "https://apixx.xn--bcher-kva.example.com",
        ],
    ),
    "http://192.168.1.*:3000": (
        "http://192.168.1.*:3000",
        [
            f"http://192.168.1.{octet}:3000"
            for octet in (0, 1, 9, 10, 99, 100, 199, 200, 249, 250, 255)
        ],
        [
            "http://192.168.1.256:3000",
            "http://192.168.1.01:3000",
            "http://192.168.1.00:3000",
            "http://192.168.1.1",
            "http://192.168.1.1:30000",
            "http://192.168.1.:3000",
            "http://192.168.10:3000",
            "http://192x168.1.1:3000",
            "http://192.168.1.1.evil.com:3000",
            "http://1192.168.1.1:3000",
            "http://192.168.1.1:3000\n",
            "http://192.168.1.*:3000",
            "https://192.168.1.1:3000",
            "http://192.168.1.1000:3000",
        ],
    ),
    "http://10.0.0.*:80": (
        "http://10.0.0.*",
        ["http://10.0.0.1", "http://10.0.0.254"],
        [
            "http://10.0.0.1:80",
            "http://10.0.0.1:8080",
            "http://10.0.0.1.evil.com",
            "http://10.0.0.1111",
            "http://10.0.1.1",
        ],
    ),
    "http://localhost:*": (
        "http://localhost:*",
        [
            "http://localhost",
            *(
                f"http://localhost:{port}"
                for port in (1, 8, 81, 443, 800, 3000, 8080, 9999, 10000, 59999, 65535)
            ),
        ],
        [
            "http://localhost:",
            "http://localhost:0",
            "http://localhost:80",
            "http://localhost:080",
            "http://localhost:03000",
            "http://localhost:65536",
            "http://localhost:99999",
            "http://localhost:100000",
            "http://localhost:*",
            "https://localhost:3000",
            "http://localhost.evil.com:3000",
            "http://localhost:3000.evil.com",
            "http://localhost:3000\n",
            "http://127.0.0.1:3000",
            "http://evillocalhost:3000",
            "http://localhost:3000@evil.com",
            "http://localhost:٣",
            "http://localhost:1a",
        ],
    ),
    "https://127.0.0.1:*/": (
        "https://127.0.0.1:*",
        ["https://127.0.0.1", "https://127.0.0.1:80", "https://127.0.0.1:4430"],
        [
            "https://127.0.0.1:443",
            "https://127x0.0.1:80",
            "https://127.0.0.10:80",
            "https://127.0.0.11",
        ],
    ),
}

# What is written for a platform that names each branch's page, and what the error proposes.
PLATFORMS = {
    "https://{branch}.netlify.app": "https://{branch}--my-shop.netlify.app",
    "https://my-shop-{branch}.netlify.app": "https://{branch}--my-shop.netlify.app",
    "https://{tag}.europe-west1.run.app": "https://{tag}---my-shop-123456789012.europe-west1.run.app",
    "https://{tag}---my-shop.us-central1.run.app": (
        "https://{tag}---my-shop-123456789012.europe-west1.run.app"
    ),
    "https://{tag}.a.run.app": "https://{tag}---my-shop-abcdefghij-ew.a.run.app",
    "https://{branch}.vercel.app": "https://{branch}.preview.example.com",
    "https://my-shop-git-{branch}-my-team.vercel.app": "https://{branch}.preview.example.com",
    "https://{branch}.pages.dev": "https://{branch}.shop.pages.dev",
    "https://{branch}.amplifyapp.com": "https://{branch}.shop.amplifyapp.com",
    "https://pr-{n}.github.io": "https://{n}.preview.example.com",
    "https://{branch}.us-west-2.compute.amazonaws.com": "https://{branch}.preview.example.com",
    "https://{branch}.co.uk": "https://{branch}.shop.co.uk",
}
# Names that the platforms have given: the pattern of their owner → names, and names of others.
PREVIEWS = {
    "https://{branch}--my-shop.netlify.app": (
        [
            "https://feature-x--my-shop.netlify.app",
            "https://deploy-preview-42--my-shop.netlify.app",
        ],
        ["https://my-shop.netlify.app", "https://x--not-my-shop.netlify.app"],
    ),
    "https://deploy-preview-{n}--my-shop.netlify.app": (
        ["https://deploy-preview-42--my-shop.netlify.app"],
        ["https://feature-x--my-shop.netlify.app", "https://deploy-preview-42--shop.netlify.app"],
    ),
    "https://{tag}---my-shop-123456789012.europe-west1.run.app": (
        ["https://pr-7---my-shop-123456789012.europe-west1.run.app"],
        [
            "https://my-shop-123456789012.europe-west1.run.app",
            "https://pr-7---my-shop-223456789012.europe-west1.run.app",
        ],
    ),
    "https://{tag}---my-shop-abcdefghij-ew.a.run.app": (
        ["https://pr-7---my-shop-abcdefghij-ew.a.run.app"],
        ["https://pr-7---my-shop-bbcdefghij-ew.a.run.app"],
    ),
    "https://{branch}.my-shop.pages.dev": (
        ["https://feature-x.my-shop.pages.dev"],
        ["https://my-shop.pages.dev", "https://feature-x.evil.pages.dev"],
    ),
}

PATTERNS_REFUSED = {
    "https://app.example.com": "no placeholder",
    "https://{Branch}.preview.example.com": "no placeholder",
    "https://{}.preview.example.com": "no placeholder",
    "https://{a-b}.preview.example.com": "no placeholder",
    "https://{ branch }.preview.example.com": "no placeholder",
    "https://{a}.{b}.example.com": "more than one placeholder",
    "https://{a}-{b}.preview.example.com": "more than one placeholder",
    "https://{a}{a}.preview.example.com": "more than one placeholder",
    "http://{a}.preview.example.com:*": "more than one placeholder",
    "http://192.168.*.*": "more than one placeholder",
    "http://192.168.1.*:*": "more than one placeholder",
    "https://{branch}": "last label",
    "https://{branch}:8080": "last label",
    "https://app.{tld}": "last label",
    "http://192.168.1.{n}": "last label",
    "https://{branch}.com": "a public suffix",
    "https://{branch}.co.uk": "a public suffix",
    "https://pr-{n}.github.io": "a public suffix",
    "https://{branch}.us-west-2.compute.amazonaws.com": "a public suffix",
    "https://{branch}.compute.estate": "a public suffix",
    "https://{branch}.netlify.app": "a public suffix",
    "https://app.{branch}.com": "a public suffix",
    "https://{branch}.рф": "a public suffix",
    "http://{branch}.test": "a public suffix",
    "https://{branch}.8.8.8": "no IPv4 address",
    "https://8.{n}.8.8": "no IPv4 address",
    "{scheme}://app.example.com": "the scheme '{scheme}'",
    "https://app.example.com:{port}": "port '{port}'",
    "https://app.example.com/{path}": "a path ('/{path}')",
    "https://app.example.com/#{fragment}": "a fragment",
    "https://{branch}.preview.example.com/x": "write https://{branch}.preview.example.com",
    "{branch}.preview.example.com": (
        "write http://{branch}.preview.example.com or https://{branch}.preview.example.com"
    ),
    "https://{user}@preview.example.com": "user or password",
    "https://{{branch}}.preview.example.com": "template",
    "https://${branch}.preview.example.com": "template",
    "https://{b}ü.preview.example.com": "international label",
    "https://xn--{b}.preview.example.com": "xn--",
    "https://-{b}.preview.example.com": "hyphen at its start",
    "https://{b}_x.preview.example.com": "underscore",
    "https://q0zx.{b}.preview.example.com": "keeps for itself",
    f"https://{'a' * 60}{{b}}.preview.example.com": "of 64 characters",
    "https://*.preview.example.com": "where only a name fits",
    "https://preview-*.example.com": "where only a name fits",
    "http://192.168.*:3000": "regular expression",
    "http://*.168.1.1": "where only a name fits",
    "http://192.168.01.*:3000": "odd spelling",
    "http://8.8.8.*": "public addresses",
    "http://app.example.com:*": "other than localhost",
    "http://192.168.1.1:*": "other than localhost",
    "http://[::1]:*": "other than localhost",
    "http://localhost:80:*": "other than localhost",
    "http://localhost:8*": "where only a name fits",
    "http://local*:3000": "where only a name fits",
    "localhost:*": "no scheme",
    "*": "where only a name fits",
    "null": "no placeholder",
    "": "no placeholder",
    "https://{branch}.preview.example.com,https://{branch}.b.example.com": (
        "more than one placeholder"
    ),
    r"^https://\w+\.example\.com$": "regular expression",
    r"^https://.*$": "regular expression",
    ".*": "regular expression",
    r"https://[a-z]+\.preview\.example\.com": "regular expression",
    "https://(a|b).preview.example.com": "regular expression",
    "https://.+": "regular expression",
    "https://[a-z].example.com": "regular expression",
}

PATTERNS_REFUSED_IN_PRODUCTION = {
    "http://192.168.1.*:3000": "for development only",
    "http://localhost:*": "for development only",
    "http://127.0.0.1:*": "for development only",
    "http://{branch}.preview.example.com": "an http pattern",
    "https://{branch}.preview.local": ".local",
    "https://{branch}.preview.test": ".test",
    "https://{branch}.preview.localhost": ".localhost",
}


@pytest.mark.parametrize(("text", "proposed"), PLATFORMS.items())
def test_what_is_proposed_for_a_platform_is_taken(text: str, proposed: str) -> None:
    """The error names a pattern of names that can exist there, and that pattern is accepted."""
    with pytest.raises(OriginError, match="a public suffix") as caught:
        parse_pattern(text, production=True)
    assert f"like {proposed}" in str(caught.value)
    assert parse_pattern(proposed, production=True).text == proposed


@pytest.mark.parametrize(("pattern", "names"), PREVIEWS.items())
def test_patterns_of_platforms_match_their_names(
    pattern: str, names: tuple[list[str], list[str]]
) -> None:
    """Names as the platforms give them match, and names of other owners do not."""
    parsed = parse_pattern(pattern, production=True)
    own, others = names
    for origin in (*own, *others):
        assert str(parse_origin(origin, production=True)) == origin
    assert [origin for origin in own if not parsed.matches(origin)] == []
    assert [origin for origin in others if parsed.matches(origin)] == []


def test_a_name_that_anyone_may_take_is_proposed_alone() -> None:
    """Vercel gives the same form of name to any account: one name is an origin, many are none."""
    with pytest.raises(OriginError) as caught:
        parse_pattern("https://{branch}.vercel.app", production=True)
    proposed = str(caught.value).partition("extra_origins, like ")[2].partition(",")[0]
    assert str(parse_origin(proposed, production=True)) == proposed


def pattern_of(text: str) -> OriginPattern:
    return parse_pattern(text, production=False)


def both_patterns(a_pattern: OriginPattern, value: str) -> tuple[bool, bool]:
    return bool(re.match(a_pattern.python_pattern, value)), bool(
        re.search(a_pattern.nginx_pattern, value)
    )


@pytest.mark.parametrize(
    ("text", "canonical", "good", "bad"), [(key, *row) for key, row in PATTERNS.items()], ids=ascii
)
def test_patterns(text: str, canonical: str, good: list[str], bad: list[str]) -> None:
    """A pattern matches its origins and nothing that only looks like one."""
    parsed = pattern_of(text)
    assert parsed.text == canonical and pattern_of(canonical) == parsed
    assert [value for value in good if not parsed.matches(value)] == []
    assert [value for value in bad if parsed.matches(value)] == []


@pytest.mark.parametrize("text", PATTERNS, ids=ascii)
def test_both_patterns_are_anchored_and_quotable(text: str) -> None:
    """Both patterns are anchored at both ends, and nothing in them ends a quoted string of nginx or
    Python."""
    parsed = pattern_of(text)
    assert (
        parsed.python_pattern == rf"\A{parsed.body}\Z"
        and parsed.nginx_pattern == f"^{parsed.body}$"
    )
    assert re.fullmatch(r"[a-z0-9A-Z:/\\.()?!|\[\]{},-]+", parsed.body)
    assert re.compile(parsed.python_pattern).groups == 0


@pytest.mark.parametrize(
    ("text", "phrase"), PATTERNS_REFUSED.items(), ids=lambda value: ascii(value)[:60]
)
def test_patterns_refused(text: str, phrase: str) -> None:
    """What is no pattern, or would allow unlisted origins, is refused in every environment."""
    with pytest.raises(OriginError) as caught:
        pattern_of(text)
    message = str(caught.value)
    assert phrase in message and message.isprintable() and ("q0zx" in text or "q0zx" not in message)
    with pytest.raises(OriginError):
        parse_pattern(text, production=True)


@pytest.mark.parametrize(("text", "phrase"), PATTERNS_REFUSED_IN_PRODUCTION.items())
def test_patterns_refused_in_production(text: str, phrase: str) -> None:
    """Patterns over addresses and ports, and over http, are for development only."""
    pattern_of(text)
    with pytest.raises(OriginError, match=re.escape(phrase)):
        parse_pattern(text, production=True)


def test_room_of_a_placeholder() -> None:
    """A placeholder never makes a host longer than 253 characters."""
    base = ".".join(["b" * 60] * 4)[:-3]
    parsed = pattern_of(f"https://{{x}}.{base}.com")
    room = 253 - len(f".{base}.com")
    assert 4 <= room < 63
    assert parsed.matches(f"https://{'a' * room}.{base}.com")
    assert not parsed.matches(f"https://{'a' * (room + 1)}.{base}.com")


def of_label_pattern(value: str, before: str, after: str, room: int = 63) -> bool:
    """Whether `value` is of a label pattern, decided without any pattern."""
    if not (value.startswith(before) and value.endswith(after)):
        return False
    label = value[len(before) : len(value) - len(after)]
    plain = label.isascii() and label.replace("-", "").isalnum() and label == label.lower()
    return plain and 1 <= len(label) <= room and "-" not in (label[0], label[-1])


@unhurried
@given(
    st.text(st.sampled_from("ab0-.:/@A_\né"), max_size=70),
    st.sampled_from(["", ".evil.com", ":8080", "/", "\n"]),
)
def test_label_pattern_is_exactly_one_label(middle: str, end: str) -> None:
    """Whatever stands in a label's place, the pattern agrees with a reading letter by letter."""
    value = f"https://{middle}.preview.example.com{end}"
    expected = of_label_pattern(value, "https://", ".preview.example.com")
    assert pattern_of("https://{branch}.preview.example.com").matches(value) == expected


@unhurried
@given(LABELS)
def test_label_pattern_takes_every_label(label: str) -> None:
    """Each generated label in the placeholder's place fits the pattern, and is an origin wherever
    it is valid."""
    value = f"https://{label}.preview.example.com"
    assert pattern_of("https://{branch}.preview.example.com").matches(value)
    if label[2:4] != "--":
        assert str(parse_origin(value, production=True)) == value


@unhurried
@given(st.integers(-10, 70_000), st.sampled_from(["", "0", " ", "+"]))
def test_port_pattern_is_exactly_the_ports(port: int, before: str) -> None:
    """A port pattern takes the ports from 1 to 65535 but the default one, in a browser's spelling
    only."""
    value = f"http://localhost:{before}{port}"
    assert pattern_of("http://localhost:*").matches(value) == (
        before == "" and 1 <= port <= 65535 and port != 80
    )


@pytest.mark.parametrize(
    ("text", "origin", "before", "after"),
    [
        (
            "https://{branch}.preview.example.com",
            "https://a.preview.example.com",
            "https://",
            ".preview.example.com",
        ),
        (
            "https://pr-{n}.preview.example.com:8443",
            "https://pr-7.preview.example.com:8443",
            "https://pr-",
            ".preview.example.com:8443",
        ),
    ],
)
def test_label_patterns_refuse_look_alikes(text: str, origin: str, before: str, after: str) -> None:
    """No look-alike of an origin passes its pattern, unless it is itself one more label in the same
    place."""
    parsed = pattern_of(text)
    passing = [
        value
        for value in look_alikes(parse_origin(origin, production=True))
        if parsed.matches(value)
    ]
    assert [value for value in passing if not of_label_pattern(value, before, after)] == []
    assert all(parse_origin(value, production=True) for value in passing)


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("http://192.168.1.*:3000", "http://192.168.1.20:3000"),
        ("http://localhost:*", "http://localhost:3000"),
        ("http://127.0.0.1:*", "http://127.0.0.1:9000"),
    ],
)
def test_address_patterns_refuse_look_alikes(text: str, origin: str) -> None:
    """No look-alike passes a pattern over addresses or ports, unless it is another address or port
    that it spans."""
    parsed, meant = pattern_of(text), parse_origin(origin, production=False)
    for value in filter(parsed.matches, look_alikes(meant)):
        assert SERIALISED.fullmatch(value)
        front, back = text.split("*")
        assert value.startswith(front.rstrip(":")) and value.endswith(back)
        assert value[len(front) : len(value) - len(back)].isdigit() or value == front.rstrip(":")


PATTERN_VALUES = st.one_of(
    PLAUSIBLE,
    st.sampled_from([value for _, good, bad in PATTERNS.values() for value in [*good, *bad]]),
    st.sampled_from(
        [value for text in ORIGINS for value in look_alikes(parse_origin(text, production=False))]
    ),
    st.text(max_size=80),
).filter(lambda value: "\n" not in value)


@unhurried
@given(st.sampled_from(sorted(PATTERNS)), PATTERN_VALUES)
def test_both_patterns_agree(text: str, value: str) -> None:
    """Django's pattern and nginx's take the same values; a header value holds no newline."""
    parsed = pattern_of(text)
    assert both_patterns(parsed, value) == (parsed.matches(value), parsed.matches(value))


@pytest.mark.parametrize("text", PATTERNS, ids=ascii)
def test_patterns_take_linear_time(text: str) -> None:
    """A long hostile value costs no more than its length."""
    parsed, started = pattern_of(text), time.process_time()
    for start in ("https://a", "https://pr-a-", "http://192.168.1.1", "http://localhost:1"):
        assert not parsed.matches(start + start[-2:] * 50_000 + ".preview.example.com")
    assert time.process_time() - started < 5


def hosts_around_suffixes() -> list[str]:
    """Of every fiftieth rule of the public suffix list: the suffix, and names below it."""
    lines = Path(publicsuffixlist.PSLFILE).read_text(encoding="utf-8").splitlines()
    rules = [line.strip("!").replace("*", "any") for line in lines if line[:1] not in ("", "/")]
    suffixes = [rule.encode("idna").decode() for rule in rules[::50]]
    return [f"{below}{suffix}" for suffix in suffixes for below in ("", "a.", "b.a.")]


def test_the_registrable_domain_is_the_whole_list_s() -> None:
    """Though the rules of one top-level domain are all that is read for it."""
    whole = publicsuffixlist.PublicSuffixList()
    hosts = [*hosts_around_suffixes(), "localhost", "app.shop.test", "api.shop.co.uk"]
    assert len(hosts) > 500
    for host in hosts:
        expected = whole.privatesuffix(host) or host
        assert domain_of(Origin("https", host, None)) == expected, host


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://app.example.com", "https://api.example.com", True),
        ("https://example.com", "https://api.example.com:8443", True),
        ("http://app.example.com", "https://api.example.com", False),
        ("https://a.github.io", "https://b.github.io", False),
        ("https://10.0.0.2", "https://10.0.0.3", False),
        ("https://10.0.0.2", "https://10.0.0.2:8443", True),
        ("https://[2001:db8::2]", "https://[2001:db8::3]", False),
    ],
)
def test_a_site_is_a_scheme_and_a_registrable_domain(one: str, other: str, same: bool) -> None:
    sites = [site_of(parse_origin(text, production=False)) for text in (one, other)]
    assert (sites[0] == sites[1]) == same
