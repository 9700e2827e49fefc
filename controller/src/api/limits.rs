//! Every bound of the API, with its reason. A status has its own, the wire's
//! (`repave_protocol::limits::ENVELOPE_BYTES`).

use std::time::Duration;

/// Bytes of a policy: room for 64 types with templates of some kilobytes each.
pub(super) const POLICY_BYTES: usize = 256 * 1024;
/// Bytes of any other body: a few fields, or a trust document.
pub(super) const BODY_BYTES: usize = 64 * 1024;
/// Bytes that are thrown away of a body that nobody wants: as long as the longest that anybody may.
pub(super) const REST_BYTES: usize = repave_protocol::limits::ENVELOPE_BYTES;
/// How long that may take.
pub(super) const REST: Duration = Duration::from_secs(10);
/// Entries of a page, when nobody says how many.
pub(super) const PAGE: usize = 100;
/// Most entries of a page.
pub(super) const PAGE_MOST: usize = 500;
/// How long an identity is believed without another look: a token's end takes so long at most.
pub(super) const IDENTITY: Duration = Duration::from_secs(3);
/// Identities remembered; more tokens than this are only slower.
pub(super) const IDENTITIES: usize = 1024;
/// Tokens that fail, from one address: so many a second, after so many at once. Each costs a read.
pub(super) const FAILED_LOGINS: (u32, u32) = (1, 20);
/// Statuses that are refused, from one address: so many a second, after so many at once. Behind
/// one address may be many servers that wait to be invited.
pub(super) const REFUSED_STATUSES: (u32, u32) = (5, 100);
/// Event streams at once.
pub(super) const STREAMS: usize = 256;
/// How often a stream says that it is alive, and looks whether its token still is.
pub(super) const STREAM_ALIVE: Duration = Duration::from_secs(10);
/// Bytes of an idempotency key.
pub(super) const IDEMPOTENCY_KEY_BYTES: usize = 128;
/// Bytes of an answer that is kept to be given again; the store's documents end at a megabyte.
pub(super) const ANSWER_BYTES: usize = 512 * 1024;
