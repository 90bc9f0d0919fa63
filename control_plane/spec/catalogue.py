"""Every finding code: what it means, what usually causes it, an example, and what to do. Read by `headgate explain HG1003`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True)
class Code:
    """One kind of finding. `example` is a piece of a spec, or a command, that produces it."""

    code: str
    title: str
    cause: str
    example: str
    fix: str


_CODES: Final = (
    # HG1: the shape of a file, a document or a field
    Code(
        code="HG1001",
        title="File cannot be read",
        cause="The path does not exist, is no file, or permissions forbid it.",
        example="headgate validate spces/",
        fix="Check the path and its permissions. A running gateway keeps serving the last good specs.",
    ),
    Code(
        code="HG1002",
        title="Not valid YAML",
        cause="Indentation, quotes or brackets do not match, or an editor saved half of the file.",
        example="spec: {models: [chat",
        fix="Correct the text at the position that the finding names. A half-saved file is read again at its next change.",
    ),
    Code(
        code="HG1003",
        title="Unknown field",
        cause="A field name is mistyped, or stands at the wrong level.",
        example="targets: [{provider: openai, model: gpt-5, wieght: 80}]",
        fix="Use the name that the finding suggests; `headgate explain modelroute.spec` lists the fields.",
    ),
    Code(
        code="HG1004",
        title="Wrong type",
        cause="A value is a text where a number is needed, a single value where a list is, and so on.",
        example='weight: "80"',
        fix="Write the type that the finding names. YAML 1.2 rules apply: only true and false are booleans.",
    ),
    Code(
        code="HG1005",
        title="Missing field",
        cause="A required field is not there.",
        example="targets: [{provider: openai}]",
        fix="Add the field.",
    ),
    Code(
        code="HG1006",
        title="Out of bounds",
        cause="A number, a duration, or the length of a text or list is outside of its limits.",
        example="timeouts: {total: 90h}",
        fix="Choose a value within the bounds; `headgate explain <field>` prints them.",
    ),
    Code(
        code="HG1007",
        title="Not well-formed",
        cause="A duration without a unit, a name with capitals, a model name with control characters, and so on.",
        example="metadata: {name: My_Route}",
        fix="Write the form that the finding describes.",
    ),
    Code(
        code="HG1008",
        title="Duplicate key",
        cause="The same key stands twice in one mapping; YAML parsers would silently keep the last.",
        example="spec: {preset: openai, preset: anthropic}",
        fix="Keep one of the two.",
    ),
    Code(
        code="HG1009",
        title="Too large",
        cause="A file, its nesting or its alias expansion exceeds what is read, so that no file can exhaust the control plane.",
        example="a: &a [x, x]\nb: &b [*a, *a]   # … and so on, doubling",
        fix="Split the file, or write aliased parts out.",
    ),
    Code(
        code="HG1010",
        title="Not UTF-8",
        cause="The file was saved in another encoding.",
        example="metadata: {name: caf\\xe9}",
        fix="Save the file as UTF-8.",
    ),
    Code(
        code="HG1011",
        title="Empty",
        cause=(
            "A file without a document, or a directory without a spec file. It is an error because it is what an editor or "
            "a deployment leaves for a moment, and all routes would vanish."
        ),
        example="# only a comment",
        fix="Write a document, or remove the file.",
    ),
    Code(
        code="HG1012",
        title="Unknown apiVersion",
        cause="The document is of another version than this Headgate reads.",
        example="apiVersion: headgate.dev/v2",
        fix="Write apiVersion: headgate.dev/v1alpha1, or use the Headgate that reads the other version.",
    ),
    Code(
        code="HG1013",
        title="Unknown kind",
        cause="The document is of a kind that Headgate does not know.",
        example="kind: Route",
        fix="Write Provider, ModelRoute, Preset or ModelCatalog.",
    ),
    Code(
        code="HG1014",
        title="Exactly one of",
        cause="Fields exclude each other, and none or several were given.",
        example="secretRef: {env: KEY, file: key.txt}",
        fix="Give exactly one of them.",
    ),
    Code(
        code="HG1015",
        title="Unknown value",
        cause="A field knows a few values, and this is not one of them.",
        example="retry: {on: [ratelimit]}",
        fix="Use one of the values that the finding lists.",
    ),
    Code(
        code="HG1016",
        title="Listed twice",
        cause="An entry stands twice in a list of distinct entries.",
        example="models: [chat, chat]",
        fix="Keep one of the two.",
    ),
    Code(
        code="HG1017",
        title="Header not allowed",
        cause="The header carries a credential, belongs to HTTP, or is set by the gateway itself.",
        example="headers: {authorization: Bearer …}",
        fix="Put keys into spec.credentials as references; leave the other headers to the gateway.",
    ),
    Code(
        code="HG1019",
        title="Unknown option",
        cause="spec.options names an option that no dialect of the preset knows, so that nothing would ever read it.",
        example="options: {max_token_field: max_tokens}",
        fix="Use the name that the finding suggests; `headgate explain preset.spec.options` lists the options.",
    ),
    Code(
        code="HG1020",
        title="Sign-in incomplete",
        cause="A way to sign in needs another field beside it, or a field has no effect with the way that was chosen.",
        example="entra: {clientSecret: {env: SECRET}}   # whose application, in which tenant?",
        fix="Add or remove the field that the finding names; `headgate explain provider.spec.credentials` lists them.",
    ),
    # HG2: what fields and documents say together
    Code(
        code="HG2001",
        title="Provider not found",
        cause="A plan names a provider that no document defines.",
        example="targets: [{provider: opnai, model: gpt-5}]",
        fix="Correct the name, or add the Provider document.",
    ),
    Code(
        code="HG2002",
        title="Duplicate name",
        cause="Two documents of one kind have the same name, often after copying a file.",
        example="metadata: {name: chat}   # in two files",
        fix="Rename or remove one of the two; the finding names both places.",
    ),
    Code(
        code="HG2003",
        title="Model served twice",
        cause="Two routes list the same model, so that a request would have two plans.",
        example="models: [gpt-5]   # in two routes",
        fix="List each model in one route.",
    ),
    Code(
        code="HG2004",
        title="Zero weight",
        cause="A target with the weight 0 never serves.",
        example="targets: [{provider: openai, model: gpt-5, weight: 0}]",
        fix="Give it at least 1, or take it out of the group.",
    ),
    Code(
        code="HG2005",
        title="Unknown preset",
        cause="spec.preset names no preset that ships with this Headgate, and no Preset document.",
        example="preset: opanai",
        fix="Use one of those that `headgate presets` lists, or add a Preset document of that name.",
    ),
    Code(
        code="HG2006",
        title="Bad URL",
        cause="spec.baseUrl is no http(s) URL that ends after its path.",
        example="baseUrl: https://api.example.com/v1?key=x",
        fix="Write for example https://api.example.com/v1.",
    ),
    Code(
        code="HG2007",
        title="Credentials in URL",
        cause="spec.baseUrl holds a user name or password, which would show up in dumps and logs.",
        example="baseUrl: https://user:password@api.example.com/v1",
        fix="Remove it, and reference the key in spec.credentials.",
    ),
    Code(
        code="HG2008",
        title="Plain http",
        cause="spec.baseUrl is http, so that prompts and keys would travel in the clear.",
        example="baseUrl: http://api.example.com/v1",
        fix="Use https, or set allowInsecure: true for a network that you trust.",
    ),
    Code(
        code="HG2009",
        title="Internal address",
        cause=(
            "The host of spec.baseUrl is a loopback, private, link-local or otherwise internal address or name. A mistyped "
            "or planted URL could send keys to, or read from, services of your own network."
        ),
        example="baseUrl: https://169.254.169.254/v1",
        fix="Use a public host, or set allowInsecure: true if the server is your own.",
    ),
    Code(
        code="HG2010",
        title="No base URL",
        cause="The preset has no base URL of its own, and spec.baseUrl is not set.",
        example="spec: {preset: openai-compatible}",
        fix="Add spec.baseUrl.",
    ),
    Code(
        code="HG2011",
        title="CA file not usable",
        cause="A caFile, of spec.tls or of spec.egress.proxy, cannot be read or holds no usable PEM certificate.",
        example="tls: {caFile: ca.der}",
        fix="Give a PEM file; a relative path counts from the spec file.",
    ),
    Code(
        code="HG2012",
        title="Target listed twice",
        cause="A group names the same provider and model twice.",
        example="targets: [{provider: a, model: m, weight: 1}, {provider: a, model: m, weight: 2}]",
        fix="Keep one, with the sum of the weights.",
    ),
    Code(
        code="HG2013",
        title="Dialect not in preset",
        cause="spec.dialects names a dialect that the preset does not have.",
        example="spec: {preset: anthropic, dialects: [openai-responses]}",
        fix="Use dialects that the finding lists, or another preset.",
    ),
    Code(
        code="HG2014",
        title="Name of a shipped preset",
        cause="A Preset document has the name of a preset that ships with Headgate; providers elsewhere would change their meaning.",
        example="kind: Preset\nmetadata: {name: groq}",
        fix="Choose another name, and name that one in the providers. `headgate presets` lists the names that are taken.",
    ),
    # HG3: warnings
    Code(
        code="HG2015",
        title="Client certificate cannot be used",
        cause="tls.certFile or tls.keyFile is missing, unreadable, no PEM, encrypted, or the key is not the certificate's.",
        example="tls: {certFile: client.pem, keyFile: client.key}   # while one of them is being replaced",
        fix="Give a certificate chain and its unencrypted key. What was read last stays in force until then.",
    ),
    Code(
        code="HG2016",
        title="Settings exclude each other",
        cause="spec.egress asks for two things that cannot be had together, such as HTTP/3 through an HTTP CONNECT proxy.",
        example="egress: {protocol: http3, proxy: {url: http://proxy.example.com:3128}}",
        fix="Leave one of them out.",
    ),
    Code(
        code="HG2017",
        title="Model described twice",
        cause="Two ModelCatalog documents have an entry for the same model of the same preset or provider.",
        example="kind: ModelCatalog   # twice, both with preset: openai and models: [{id: gpt-5, …}]",
        fix="Keep one of the two entries. An entry for a provider may stand beside one for its preset, and wins.",
    ),
    Code(
        code="HG2018",
        title="Base URL incomplete",
        cause="The preset's vendor has more in the path of its base URL than this one has, such as Vertex AI its project and location.",
        example="spec: {preset: vertex, baseUrl: https://us-central1-aiplatform.googleapis.com/v1}",
        fix="Add the steps that the finding names, each with its value: …/v1/projects/PROJECT/locations/us-central1.",
    ),
    Code(
        code="HG3001",
        title="Key missing",
        cause=(
            "The environment variable or file of a key is not there, or holds something that cannot be a key. The "
            "provider's targets are left out of every plan until it is."
        ),
        example="credentials: [{secretRef: {env: OPENAI_API_KEY}}]   # and it is not set",
        fix="export OPENAI_API_KEY=... before the start, or write the file; files are watched.",
    ),
    Code(
        code="HG3002",
        title="Sign-in in a pool",
        cause="A provider lists several credentials, and one of them is a sign-in to a cloud. A pool is for keys: a sign-in renews itself.",
        example="credentials: [{secretRef: {env: KEY_1}}, {entra: {managedIdentity: {}}}]",
        fix="Define a provider of its own for the sign-in and name it in the plan.",
    ),
    Code(
        code="HG3003",
        title="One provider only",
        cause="All targets of a route are at one provider, so its outage is the users' outage.",
        example="plan: [{targets: [{provider: openai, model: gpt-5}]}]",
        fix="Add a group with a target at another provider.",
    ),
    Code(
        code="HG3004",
        title="Limit not enforced yet",
        cause="The limit is recorded for reports, but requests beyond it are not held back.",
        example="limits: {tokensPerMinute: 2M}",
        fix="Rely on the vendor's own limit for now; its 429 fails over.",
    ),
    Code(
        code="HG3005",
        title="Idle timer raised",
        cause=(
            "The idle timer runs on across attempts until an answer begins. If it is shorter than the time that all "
            "attempts may take, it would end the request before the last of them."
        ),
        example="timeouts: {firstToken: 30s, idle: 20s}",
        fix="Write the value that the finding names, or lower firstToken.",
    ),
    Code(
        code="HG3006",
        title="Provider not used",
        cause="No plan names the provider.",
        example="kind: Provider   # and no route mentions it",
        fix="Name it in a plan, or remove it.",
    ),
    Code(
        code="HG3007",
        title="More attempts than groups",
        cause="retry.attempts exceeds the number of groups; the last group serves the attempts beyond it.",
        example="retry: {attempts: 3}   # with two groups",
        fix="Lower it, or add a group.",
    ),
    Code(
        code="HG3008",
        title="No credentials",
        cause="The preset's vendor asks for a key, and the provider has none.",
        example="spec: {preset: openai}",
        fix="Add credentials, unless something before the vendor adds the key.",
    ),
    Code(
        code="HG3009",
        title="Connect timer longer than first-token timer",
        cause="A host that does not answer at all holds a request longer than one that is slow.",
        example="timeouts: {connect: 30s, firstToken: 8s}",
        fix="Lower connect to a few seconds.",
    ),
    Code(
        code="HG3010",
        title="Total timer too short for the plan",
        cause="The total timer may end a request before all of its attempts were made.",
        example="timeouts: {firstToken: 30s, total: 40s}",
        fix="Raise total, or lower firstToken.",
    ),
    Code(
        code="HG3011",
        title="No apiVersion",
        cause="The document does not say which version of the format it is.",
        example="kind: Provider",
        fix="Add apiVersion: headgate.dev/v1alpha1.",
    ),
    Code(
        code="HG3012",
        title="Fewer attempts than groups",
        cause="retry.attempts is less than the number of groups; the groups after it never serve.",
        example="retry: {attempts: 1}   # with two groups",
        fix="Raise it, or remove the groups.",
    ),
    Code(
        code="HG3013",
        title="TLS settings without TLS",
        cause="spec.tls is set, but spec.baseUrl is plain http.",
        example="tls: {caFile: ca.pem}",
        fix="Use https, or remove spec.tls.",
    ),
    Code(
        code="HG3014",
        title="Preset not used",
        cause="No provider names the Preset document.",
        example="kind: Preset   # and no provider mentions it",
        fix="Name it in a Provider, or remove it.",
    ),
    Code(
        code="HG3015",
        title="Sign-in fails",
        cause=(
            "No new token comes from the cloud: its token service refuses the identity, or cannot be reached. The last token "
            "serves until it expires; then the provider's targets are left out of every plan. Headgate goes on trying."
        ),
        example="entra: {tenantId: contoso.example, clientId: ..., clientSecret: {env: OLD_SECRET}}",
        fix="Correct what the finding quotes. `headgate get credentials` shows the last attempt and the last token's end.",
    ),
    Code(
        code="HG3016",
        title="Library for a sign-in missing",
        cause="The credential signs in to a cloud, and that cloud's library, an extra of the headgate package, is not installed.",
        example="credentials: [{google: {}}]   # installed without headgate[google]",
        fix="Install the extra that the finding names, where the control plane runs, and start it again.",
    ),
    Code(
        code="HG3017",
        title="Setting without effect",
        cause="A setting of spec.egress belongs to another protocol, or there is nothing that it could change.",
        example="egress: {protocol: http1, connection: {ping: 30s}}",
        fix="Remove it, or choose the protocol that it belongs to.",
    ),
    Code(
        code="HG3018",
        title="Route that serves nothing",
        cause="No target of the route offers an operation that clients of its dialects can call, so every request is answered with 404.",
        example="spec: {models: [rank], dialects: [anthropic-messages], plan: [{targets: [{provider: jina, model: jina-reranker-v3}]}]}",
        fix="Add targets that offer it, or allow the dialects of clients that can call what the targets have.",
    ),
    Code(
        code="HG3019",
        title="Resume without effect",
        cause=(
            "The route asks for resume, and none of its targets can go on with an answer that another has begun: most models refuse "
            "an assistant message at the end of a conversation, or answer it as if it were over."
        ),
        example="spec: {resume: {}, plan: [{targets: [{provider: openai, model: gpt-5}]}]}",
        fix="Add a target that can: a Claude model before 4.6, or a provider whose preset has the option prefill (mistral, vllm).",
    ),
    Code(
        code="HG3021",
        title="Ceiling without a price",
        cause="The route has a maxCostPerRequest, but the catalogue has no price for one of its targets. Such a target is never left out.",
        example="maxCostPerRequest: 0.05   # and a target at a server of your own",
        fix="Write a ModelCatalog with the price, 0 if it costs nothing. `headgate catalogue` shows the prices in force.",
    ),
    Code(
        code="HG3022",
        title="Nothing known of the targets",
        cause="The route asks in spec.fallback for targets to be passed by, but none of them is in the catalogue.",
        example="fallback: {capability: skip}   # and targets at servers of your own only",
        fix="Write a ModelCatalog with their windows, modalities and capabilities.",
    ),
    Code(
        code="HG3031",
        title="Stickiness without effect",
        cause="spec.stickiness chooses among the targets of a group, and every group of the plan has one.",
        example="stickiness: {by: [conversation]}   # with plan: [{targets: [{provider: openai, model: gpt-5}]}]",
        fix="Put the targets that share the traffic into one group, or remove it.",
    ),
)

CATALOGUE: Final[Mapping[str, Code]] = MappingProxyType({entry.code: entry for entry in _CODES})
