"""Base URLs: no way to write an internal address that passes for a public one."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.spec.base_url import BadUrl, BaseUrl, parse_base_url, why_internal


@pytest.mark.parametrize(
    ("text", "parts", "authority"),
    [
        ("https://api.openai.com/v1", ("https", "api.openai.com", 443, "/v1"), "api.openai.com"),
        ("HTTPS://API.Example.COM.:8443/a/b/", ("https", "api.example.com", 8443, "/a/b"), "api.example.com:8443"),
        ("http://[2001:db8::1]:9000", ("http", "2001:db8::1", 9000, ""), "[2001:db8::1]:9000"),
        ("http://127.0.0.1:80/", ("http", "127.0.0.1", 80, ""), "127.0.0.1"),
        ("https://my_vllm:8000/v1", ("https", "my_vllm", 8000, "/v1"), "my_vllm:8000"),
    ],
)
def test_parts(text: str, parts: tuple[str, str, int, str], authority: str) -> None:
    url = parse_base_url(text)
    assert (url.scheme, url.host, url.port, url.path) == parts
    assert url.authority == authority
    assert parse_base_url(str(url)) == url


def spellings(address: ipaddress.IPv4Address) -> list[str]:
    """How resolvers (inet_aton) and IPv6 let one write an IPv4 address."""
    a, b, c, d = address.packed
    number = int(address)
    return [
        f"{a}.{b}.{c}.{d}",
        str(number),
        hex(number),
        f"0{number:o}",
        f"0x{a:X}.0{b:o}.{c}.{d}",
        f"{a}.{number & 0xFFFFFF}",
        f"{a}.{b}.{number & 0xFFFF}",
        f"[::ffff:{address}]",
        f"[64:ff9b::{address}]",
        f"[2002:{number >> 16:x}:{number & 0xFFFF:x}::]",
    ]


@given(
    st.sampled_from(
        ["127.0.0.0/8", "10.0.0.0/8", "192.168.0.0/16", "172.16.0.0/12", "169.254.0.0/16", "100.64.0.0/10", "168.63.129.16/32"]
    ),
    st.data(),
)
def test_every_spelling_of_an_internal_address_is_seen(network: str, data: st.DataObject) -> None:
    block = ipaddress.IPv4Network(network)
    address = block[data.draw(st.integers(0, block.num_addresses - 1))]
    for spelling in spellings(address):
        assert why_internal(parse_base_url(f"https://{spelling}/v1")) is not None, spelling


@pytest.mark.parametrize(
    "host", ["8.8.8.8", "[2606:4700::1111]", "[::ffff:8.8.8.8]", "[64:ff9b::808:808]", "api.openai.com", "x.notlocal", "mylocal.com"]
)
def test_public_hosts_pass(host: str) -> None:
    assert why_internal(parse_base_url(f"https://{host}/v1")) is None


@given(st.text(max_size=60) | st.from_regex(r"https?://[^ ]{0,40}", fullmatch=True))
def test_any_text_is_a_url_or_refused_without_quoting_it(text: str) -> None:
    try:
        url = parse_base_url(text)
    except BadUrl as error:
        refused = error
    else:
        assert isinstance(url, BaseUrl)
        assert 1 <= url.port <= 65535
        assert "@" not in url.authority
        assert not url.path.endswith("/")
        why_internal(url)
        return
    assert refused.code in ("HG2006", "HG2007")
    assert refused.fix
    assert len(text) < 12 or text not in refused.message + refused.fix
