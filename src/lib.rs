//! One synchronous binary that gives any OpenAI or Anthropic client the models a company has deployed on SAP AI Core.
//!
//! ```text
//! client bytes ─ gate ─ server ─ relay ────────────────────────────────────────────────────────────── upstream
//!                TLS    tiny_http  route → auth → read → find the model ┬ same grammar:  adapt ─────────→ POST
//!                limits pool                                            └ another: decode → fit → adapt → encode
//!                                  ◄ frames ◄ pass on (a tap reads usage), or encode ◄ undo ◄ decode ◄ sse ◄─┘
//! ```
//!
//! Read [`relay`] next: it tells the way of a request from the first byte to the last.
//!
//! # Floors
//!
//! A module knows its own floor and those below, never one above (`tests/tidy.rs` checks this page against the code).
//!
//! | floor | modules |
//! |---|---|
//! | 4 · sockets towards clients, commands | [`cli`] [`certificate`] [`gate`] [`server`] [`ask`] |
//! | 3 · the story | [`relay`] [`live`] [`local`] |
//! | 2 · who, where, what | [`routes`] [`families`] [`auth`] [`models`] [`balance`] [`affinity`] [`deployed`] [`catalogue`] [`quota`] [`discovery`] [`config`] [`credentials`] [`subaccount`] [`aicore`] [`vault`] [`stored`] [`convert`] [`healing`] [`demo`] |
//! | 1 · wire grammars, pure | [`dialect`] [`estimate`] [`upstream_error`] |
//! | 0 · words everyone uses | [`chat`] [`envelope`] [`sse`] [`media`] [`encoding`] [`error`] [`log`] |
//!
//! # Invariants
//!
//! - Same dialect on both sides: the client's bytes go on verbatim. Only top-level keys are edited, by the family's `adapt`.
//! - The status is committed with the first frame that means something; until then another deployment may be tried.
//! - After an error frame nothing that looks like a clean end follows: no `[DONE]`, no last chunk. Only the Responses API has an
//!   end of its own for what failed.
//! - tiny_http never sees a socket of the network; nothing is written towards it but policed heads.
//! - No key, secret, access token, header or prompt is in any log at any level.
//! - A client's URL is fetched from judged addresses of the public internet only, or from where the configuration says.
//! - A relay never changes. A request is served from beginning to end by one; what a new configuration or a discovery changes is
//!   another relay ([`live`]), which takes over what was learnt.
//! - Another deployment is asked only while the client has seen nothing of an answer and AI Core has not begun one.
//! - A limit on everything, named with its unit. No lock is held over I/O, but the one that orders heads towards tiny_http.
//! - Each external crate has one home: swapping it touches one module. [`demo`] is a program of its own and has its own.
//!
//! # What is known of AI Core, and what is not
//!
//! "The dossier" in comments is our collection of what public code, recordings and documentation say of AI Core's wire
//! format; the number is its section. What it leaves open is decided beside the code, at the words "Left open":
//!
//! | question | decision | where |
//! |---|---|---|
//! | how early to renew an access token; how its request looks; how long one lives that does not say | 300 s or half its life; form body; 1 h | [`credentials`] |
//! | whether AI Core wants the certificate of an X.509 service key, as its token host does | no: an access token is enough | [`credentials`] |
//! | what a 403 means, a bad token or no rights | as 401: renewed and repeated once, then a 502 | [`relay`] |
//! | `max_tokens` on gpt-5; sampling on gpt-5.1 with effort `none`; tools with effort on gpt-5.5 | renamed; kept; effort left out | [`families`] |
//! | what vLLM does with fields and roles it does not know; `reasoning_effort` | left out and named, developer becomes system; only for models that reason | [`families`] |
//! | whether Mistral on AI Core insists on ids of nine and its vendor's order of messages | yes, its vendor's rule | [`families`] |
//! | whether Perplexity refuses fields of OpenAI's, and knows `stream_options` | left out and named; not asked, it tells usage anyway | [`families`] [`dialect`] |
//! | orchestration: what is rendered as a template; where `tool_choice` goes; how much text an event has; which rules of the vendors it hides | only the template: the last message, its texts as placeholders; among the parameters; 50 characters; none | [`dialect`] [`families`] |
//! | how the highest effort is called by OpenAI's models, where the client's word is another | `high` | [`dialect`] |
//! | what a text is for, which NVIDIA's models have to be told and OpenAI's clients cannot say | `query` | [`dialect`] |
//! | whether Gemini's embeddings are under the deployed name or Google's own | the one, on a 404 the other | [`families`] |
//! | what a passed request for a response may say; a response that fails at once | all but what is known to be refused; told by its status where another deployment may do better | [`families`] [`dialect`] |
//! | which of OpenAI's models have the Responses API, and which have nothing else | gpt-5 and later; names with `-codex` | [`families`] |
//! | which family a name of one's own is | OpenAI's, unless `families` says otherwise | [`families`] |
//! | the api-version | `2025-04-01-preview`, configurable | [`config`] |
//! | `AI-Tenant-Id`, which few clients send | sent where the service key has the tenant's id | [`subaccount`] |
//! | whether clients may see Azure's first event, without choices; the dated model name | no; the client's name goes back | [`dialect`] |
//! | a stream that ends without `[DONE]` | complete if a finish reason came, otherwise an error | [`dialect`] |
//! | Gemini: what an effort is in tokens, which models know the lowest level of thinking | Google's own numbers; flash-lite, and flash before 3.7 | [`families`] |
//! | Gemini: JSON together with tools; a reply broken off for an odd reason | the answer by a tool; what there is of it, or an error | [`dialect`] |
//! | whether Gemini's signature of a call is over its arguments | taken to be: a call that came back changed goes unsigned | [`vault`] |
//! | the status of an error inside a 200 stream | its code or status if it is one, else by its words, else 500 | [`upstream_error`] |
//! | what a stream's message without `error` means; its status | an error; by the exception its text names, else 500 | [`upstream_error`] |
//! | Claude 3.7, documented for `/converse` only | `/invoke`, as all of Claude | [`families`] |
//! | Claude's limit of the output where the client sets none | 32,000, or the model's own if that is less | [`families`] |
//! | a Claude of unknown version | by the rules of the newest; 128,000 of output | [`families`] |
//! | a forced tool, and no thinking, since Claude 5.5 | asked for in words; the lowest effort; both named | [`families`] |
//! | `cache_control` for Claude | kept, at most four, but not before 3.7 | [`families`] |
//! | `output_config` for Claude | sent from 4.6 on, with the effort only; never `thinking.display` | [`dialect`] |
//! | a budget for thinking that is not below the output's limit | the limit is raised, as far as the model goes | [`families`] |
//! | what Anthropic's clients send beyond what Bedrock is known to take: new fields, types of tools, beta flags | fields left out and named; tools and flags sent, and healed if refused | [`families`] [`healing`] |
//! | a newer date of a beta flag that Bedrock refuses | refused as well, so not sent | [`families`] |
//! | the budget of a client's own, in a loop of calls where only an earlier turn has its thoughts | sent, and healed if refused | [`families`] [`healing`] |
//! | a `cache_control` of a whole request; blocks of calls without `tools` | left out and named; sent | [`families`] |
//! | a Claude stream that ends without `message_stop` | complete if a stop reason came, otherwise an error | [`dialect`] |
//! | how a stream of Converse is written: JSON, Python's literals, with `data:` or without, one event a line | read in every one of these ways; not in AWS's binary one | [`dialect`] |
//! | a Converse stream without `metadata`; a `malformed_…` stop reason | complete if a stop reason came; an error, for the client to try again | [`dialect`] |
//! | the status of an exception within a Converse stream | the one that Bedrock answers it with | [`dialect`] |
//! | Nova's limit of the output; its cache points; what the top of a tool's schema may hold | 10,000; four, none on tools; `type`, `properties`, `required` and definitions | [`families`] |
//! | where Cohere's chat is; names of its tools; whether it is able to fetch images | `/chat`, after a 404 `/v2/chat`; without `-`; no | [`families`] [`dialect`] |
//! | how much an effort is for Cohere | 512, 1,024 and 4,096 tokens, from `high` on as much as it likes; only where the name says `reasoning` | [`dialect`] [`families`] |
//! | what a response of a converted model says of `completed_at` and `service_tier` | null; `default` | [`dialect`] |
//! | deployments that come and go between the pages of their list | each counts once; a page with nothing new is the last | [`discovery`] |
//! | a deployment of a tenant's own scenario; one whose URL is not of the AI API's host | ours if AI Core names a model; left out, and warned of | [`deployed`] [`discovery`] |
//! | a limit of 0 requests a minute; limits of single versions | none is told; that of all versions, else the least | [`quota`] |
//! | a model of which the catalogue does not say whether orchestration serves it | it does not | [`catalogue`] |
//! | whether Retry-After comes with a 429 | passed on if it does; where several could answer, it says when the first of them can again | [`upstream_error`] [`relay`] |
//! | Retry-After as a date, which no recording has | not read: as if it were not there | [`relay`] |
//! | how AI Core's minute of requests begins | a sliding one, which is never more than any other | [`balance`] |
//! | a 429 where the tenant has more deployments of the model | its other tenants first, then those: a limit of tokens may be the deployment's own | [`balance`] |
//!
//! # What was decided otherwise than the first design
//!
//! - Bodies are read by the relay after tiny_http has parsed the head, not before: so authentication comes first, and the
//!   whole story is in one file.
//! - `upstream_error` is a file of its own: reading ten shapes of error belongs to no dialect.
//! - What is the same repair for every vendor (roles, pairs of calls and results, names, answers in JSON) stands in
//!   [`chat::fit`], not in each dialect; its `Undo` puts back in the reply what the client must not see changed.
//! - A text of a conversation stays the JSON that the client wrote ([`chat::Text`]): reading and writing escapes was half of
//!   what a conversion cost.
//! - A client's request decides how its reply is written ([`dialect::ReplyWriter`]): the Responses API repeats it.
//! - A conversion between two grammars is a [`convert::Conversion`], so that the relay has one story for both ways.
//! - Families that speak OpenAI's grammar with quirks (vLLM, Perplexity) pass too; `mend` changes what SDKs stumble over.
//! - Where a model has several deployments is not written in `models` but in [`balance`], which knows no URLs; where
//!   conversations are in [`affinity`], a bounded table, for what hashes alone decide cannot be weighted or moved.
//! - The demo parses requests itself: it has to cut connections mid-frame and answer before a body is read.

#![forbid(unsafe_code)]

#[cfg(not(unix))]
compile_error!("Unix only: Linux, macOS. On Windows run it in WSL or a container.");

pub mod relay;

pub mod live;
pub mod local;
pub mod routes;

pub mod affinity;
pub mod aicore;
pub mod auth;
pub mod balance;
pub mod catalogue;
pub mod config;
pub mod convert;
pub mod credentials;
pub mod deployed;
pub mod discovery;
pub mod families;
pub mod healing;
pub mod models;
pub mod quota;
pub mod stored;
pub mod subaccount;
pub mod vault;

pub mod dialect;
pub mod estimate;
pub mod upstream_error;

pub mod chat;
pub mod encoding;
pub mod envelope;
pub mod error;
pub mod log;
pub mod media;
pub mod sse;

pub mod ask;
pub mod certificate;
pub mod cli;
pub mod gate;
pub mod server;

pub mod demo;
