//! A controller's double with real keys: it approves, orders, serves blobs, lies on demand, and
//! knows by which name each of its lies must be refused.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use repave_core::edges::LinkError;
use repave_core::journal::Accepted;
use repave_protocol::{
    Directive, Generation, Keys, Nonce, Order, PoolId, PublicKey, Purpose, ServerId, Sha256,
    SigningKey, Standing, Status, StatusExpected, TrustDocument, Wipe, limits, seal, strict_json,
    verify,
};

use crate::image::{Image, ImageSpec};
use crate::image_like::Pages;

/// The CA of the trust document that is burned.
pub const BURNED_CA: &str = "CA 1";
/// Where its blobs are served from.
pub const SOURCES: [&str; 2] = ["sim://mirror", "sim://library"];

/// A false answer to a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// No answer.
    Drop,
    /// Half of it.
    Truncate,
    /// One byte altered.
    Corrupt,
    /// A byte more.
    Trailing,
    /// The answer to the status before.
    Stale,
    /// Signed by somebody else.
    Forged,
    /// Not signed.
    Unsigned,
    /// For another server.
    OtherServer,
    /// For another pool.
    OtherPool,
    /// With a nonce that nobody asked with.
    OtherNonce,
    /// With a generation that is over.
    LowerGeneration,
    /// Another order under the present generation.
    ReusedGeneration,
    /// With a critical field of the future.
    Critical,
    /// Larger than any envelope.
    Oversized,
}

impl Lie {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Drop,
        Self::Truncate,
        Self::Corrupt,
        Self::Trailing,
        Self::Stale,
        Self::Forged,
        Self::Unsigned,
        Self::OtherServer,
        Self::OtherPool,
        Self::OtherNonce,
        Self::LowerGeneration,
        Self::ReusedGeneration,
        Self::Critical,
        Self::Oversized,
    ];

    /// Whether it is one in answer to that status: some are genuine unless the server has accepted
    /// something that they contradict.
    fn is_one(self, status: &Status, directive: &Directive) -> bool {
        match self {
            Self::ReusedGeneration => status.generation == Some(directive.generation),
            Self::LowerGeneration => status.generation > Some(Generation(0)),
            _ => true,
        }
    }

    /// The code with which the next status must name it; none if there was no answer to name.
    pub const fn code(self) -> Option<&'static str> {
        Some(match self {
            Self::Drop => return None,
            Self::Truncate => "truncated",
            Self::Corrupt => "bad-signature",
            Self::Trailing => "trailing-bytes",
            Self::Stale | Self::OtherNonce => "other-nonce",
            Self::Forged => "unknown-key",
            Self::Unsigned => "unsigned",
            Self::OtherServer => "other-server",
            Self::OtherPool => "other-pool",
            Self::LowerGeneration => "lower-generation",
            Self::ReusedGeneration => "reused-generation",
            Self::Critical => "unknown-critical",
            Self::Oversized => "oversized",
        })
    }
}

/// What the first source does to a blob. The second is honest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceFault {
    /// It does not have it.
    Missing,
    /// One bit is other.
    Corrupt,
    /// It ends early, which is trouble.
    Short,
    /// It is longer than was asked for, which is a lie that is seen before the bytes are.
    Long,
    /// It serves another part of it.
    Elsewhere,
}

/// The controller of a world.
#[derive(Clone, Debug)]
pub struct Controller {
    /// Its pool.
    pub pool: PoolId,
    /// Everything it was told, in order.
    pub statuses: Vec<Status>,
    /// Genuine purposes that it gave as an answer.
    pub issued: BTreeMap<Generation, Purpose>,
    /// Every genuine order that it gave as an answer, by its digest.
    pub genuine: BTreeMap<Sha256, Order>,
    /// Genuine wipes that it gave as an answer.
    pub wipes: BTreeMap<Generation, Wipe>,
    /// Images by the digest of their OCI manifest.
    pub images: BTreeMap<Sha256, Rc<Image>>,
    /// Lies for the next answers.
    pub lies: VecDeque<Lie>,
    /// What the first source does to blobs.
    pub source_fault: Option<SourceFault>,
    /// Whether it does so to packs only, and serves the rest of an image as it is.
    pub is_fault_in_packs_only: bool,
    /// Whether no source has any blob.
    pub sources_are_down: bool,
    /// The CA of its certificate; whoever believes another one cannot be talked to.
    pub ca: String,
    /// The trust document that comes along with each answer.
    pub brings: Option<TrustDocument>,
    burned: Rc<Vec<u8>>,
    root: Rc<SigningKey>,
    directives: Rc<SigningKey>,
    image_key: Rc<SigningKey>,
    stranger: Rc<SigningKey>,
    /// How often the first source was asked for a part of a blob.
    pub first_source_asked: usize,
    blobs: BTreeMap<Sha256, Rc<Vec<u8>>>,
    packs: BTreeSet<Sha256>,
    order: Option<(Generation, Order)>,
    earlier: Option<(Generation, Order)>,
    generation: Generation,
    before: Vec<u8>,
}

/// What becomes of a controller before it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mishap {
    /// It is another one, which has not heard of the latest order.
    Second,
    /// It started anew: it no longer knows what it answered before.
    Restart,
    /// It lost its records, and counts generations from the beginning.
    Forget,
}

impl Controller {
    /// The controller of the one pool of all worlds: its keys are always the same.
    pub fn new() -> Self {
        let key = |number| Rc::new(SigningKey::from_seed(&[number; 32]));
        let mut made = Self {
            burned: Rc::default(),
            pool: "sim".parse().expect("a name"),
            statuses: Vec::new(),
            issued: BTreeMap::new(),
            genuine: BTreeMap::new(),
            wipes: BTreeMap::new(),
            images: BTreeMap::new(),
            lies: VecDeque::new(),
            source_fault: None,
            is_fault_in_packs_only: false,
            sources_are_down: false,
            ca: BURNED_CA.into(),
            brings: None,
            root: key(1),
            directives: key(2),
            image_key: key(3),
            stranger: key(4),
            first_source_asked: 0,
            blobs: BTreeMap::new(),
            packs: BTreeSet::new(),
            order: None,
            earlier: None,
            generation: Generation(0),
            before: Vec::new(),
        };
        made.burned = Rc::new(seal(&made.trust(1, BURNED_CA), &made.root));
        made
    }

    /// The key that signs trust documents.
    pub fn root_key(&self) -> PublicKey {
        self.root.public()
    }

    /// What a server should trust, with this CA.
    pub fn trust(&self, version: u64, ca: &str) -> TrustDocument {
        TrustDocument {
            crit: Vec::new(),
            pool: self.pool.clone(),
            version,
            directive_keys: vec![self.directives.public()],
            image_keys: vec![self.image_key.public()],
            ca_pem: ca.into(),
            least_versions: BTreeMap::new(),
        }
    }

    /// The trust document that is burned beside the configuration.
    pub fn burned_trust(&self) -> Vec<u8> {
        self.burned.to_vec()
    }

    /// Builds an image, signs it and puts it into the library.
    pub fn publish(&mut self, spec: &ImageSpec) -> Rc<Image> {
        let image = Image::cached(spec, &self.image_key);
        self.add(&image);
        image
    }

    /// An image of the shape that a field log tells, signed, and not in the library yet.
    pub(crate) fn like(&self, config: &str, pages: &Pages) -> Result<Rc<Image>, String> {
        Image::like(config, pages, &self.image_key).map(Rc::new)
    }

    /// Puts an image into the library.
    pub(crate) fn add(&mut self, image: &Rc<Image>) {
        for (sha256, blob) in image.digests.iter().zip(&image.blobs) {
            self.blobs.insert(*sha256, Rc::clone(blob));
        }
        self.packs.extend(&image.digests[Image::BLOBS_BEFORE_PACKS..]);
        self.images.insert(image.reference.manifest, Rc::clone(image));
    }

    /// From now on every status is answered with this, under a generation that somebody else counted.
    pub(crate) fn order_as(&mut self, generation: Generation, order: Order) {
        self.generation = generation;
        self.earlier = self.order.replace((generation, order));
    }

    /// An order that was given, and accepted, before this world began.
    pub(crate) fn knows(&mut self, accepted: &Accepted, order: Order) {
        self.generation = accepted.generation;
        self.genuine.insert(accepted.digest, order);
    }

    /// From now on every status is answered with this, under a new generation.
    pub fn order(&mut self, order: Order) -> Generation {
        let heard = self.statuses.last().and_then(|status| status.generation);
        self.generation = self.generation.max(heard.unwrap_or_default());
        self.generation.0 += 1;
        self.earlier = self.order.replace((self.generation, order));
        self.generation
    }

    /// What it ordered before is ordered again, as by another controller that has not heard of more.
    pub fn orders_once_more(&mut self) {
        std::mem::swap(&mut self.order, &mut self.earlier);
    }

    /// Something happens to it.
    pub fn befall(&mut self, mishap: Mishap) {
        match mishap {
            Mishap::Second => {}
            Mishap::Restart => {
                self.before.clear();
                self.lies.clear();
            }
            Mishap::Forget => {
                self.before.clear();
                self.generation = Generation(0);
                self.earlier = None;
                if let Some((generation, _)) = &mut self.order {
                    *generation = Generation(1);
                    self.generation = *generation;
                }
            }
        }
    }

    /// A server that has accepted more than this controller knows of is answered above it.
    fn catch_up(&mut self, accepted: Option<Generation>) {
        if let (Some(accepted), Some((generation, _))) = (accepted, &mut self.order)
            && accepted > *generation
        {
            *generation = Generation(accepted.0 + 1);
            self.generation = *generation;
        }
    }

    /// Takes a status that needs no answer; says what is wrong with it.
    pub fn hear(&mut self, bytes: &[u8], server: ServerId) -> Result<&Status, String> {
        let expected = StatusExpected { pool: self.pool.clone(), server };
        let heard = verify::<Status>(bytes, Keys::Device(&server), &expected);
        self.take(heard.map_err(|refusal| refusal.to_string())?.into_message())
    }

    /// Takes a status that was verified already.
    pub fn take(&mut self, status: Status) -> Result<&Status, String> {
        let before = self.statuses.iter().rev().find(|before| before.boot == status.boot);
        if before.is_some_and(|before| before.sequence >= status.sequence) {
            return Err(format!("sequence {} comes twice in one boot", status.sequence));
        }
        self.statuses.push(status);
        Ok(&self.statuses[self.statuses.len() - 1])
    }

    /// The answer to the status heard last.
    pub fn answer(&mut self, mishap: Option<Mishap>) -> Result<Vec<u8>, LinkError> {
        let unreachable = |reason: &str| LinkError::trouble("sim://controller", reason.into());
        let Some(status) = self.statuses.last().cloned() else {
            return Err(unreachable("no status to answer"));
        };
        let order = match mishap {
            Some(Mishap::Second) => self.earlier.clone(),
            _ => {
                self.catch_up(status.generation);
                self.order.clone()
            }
        };
        // Until somebody orders something, a server waits.
        let (generation, order) = order.unwrap_or((Generation(0), Order::Wait { after_ms: 1_000 }));
        let directive = Directive {
            crit: Vec::new(),
            pool: self.pool.clone(),
            server: status.server,
            nonce: status.nonce,
            generation,
            order,
            trust: self.brings.as_ref().map(|document| {
                let sealed = seal(document, &self.root);
                strict_json(&sealed, limits::ENVELOPE_BYTES).expect("sealed is an envelope")
            }),
        };
        let lie = self.lies.pop_front().filter(|lie| lie.is_one(&status, &directive));
        let Some(lie) = lie else {
            self.genuine.insert(directive.order_digest(), directive.order.clone());
            match &directive.order {
                Order::Purpose(purpose) => _ = self.issued.insert(generation, (**purpose).clone()),
                Order::Wipe(wipe) => _ = self.wipes.insert(generation, wipe.clone()),
                _ => {}
            }
            self.before = seal(&directive, &self.directives);
            return Ok(self.before.clone());
        };
        if lie == Lie::Drop {
            return Err(unreachable("connection reset"));
        }
        Ok(self.lie(lie, directive))
    }

    fn lie(&self, lie: Lie, mut directive: Directive) -> Vec<u8> {
        let another = Order::Stay { reason: "because I say so".into() };
        match lie {
            Lie::OtherServer => directive.server = ServerId::of(&self.stranger.public()),
            Lie::OtherPool => directive.pool = "elsewhere".parse().expect("a name"),
            Lie::OtherNonce => directive.nonce = Nonce::from_random([7; 32]),
            Lie::LowerGeneration => directive.generation = Generation(0),
            Lie::ReusedGeneration => directive.order = another,
            Lie::Critical => directive.crit.push("tomorrow".into()),
            _ => {}
        }
        let signer = if lie == Lie::Forged { &self.stranger } else { &self.directives };
        let mut bytes = seal(&directive, signer);
        match lie {
            Lie::Stale => return self.before.clone(),
            Lie::Truncate => bytes.truncate(bytes.len() / 2),
            Lie::Trailing => bytes.push(b'}'),
            Lie::Corrupt => {
                let middle = bytes.len() / 2;
                bytes[middle] = if bytes[middle] == b'A' { b'B' } else { b'A' };
            }
            Lie::Unsigned => {
                let marker = br#""signatures":["#;
                let at = bytes.windows(marker.len()).position(|window| window == marker);
                bytes.truncate(at.unwrap_or(0) + marker.len());
                bytes.extend(b"]}");
            }
            Lie::Oversized => bytes.resize(limits::ENVELOPE_BYTES + 1, b' '),
            _ => {}
        }
        bytes
    }

    /// A part of a blob; it suffers from the first source's fault, or from any source's `fault`.
    pub fn blob(
        &mut self,
        source: &str,
        blob: &Sha256,
        (offset_bytes, length_bytes): (u64, Option<usize>),
        fault: Option<SourceFault>,
    ) -> Result<Vec<u8>, LinkError> {
        self.first_source_asked += usize::from(source == SOURCES[0]);
        let fail = |reason: String| Err(LinkError::trouble(source, reason));
        let Some(bytes) = self.blobs.get(blob).filter(|_| !self.sources_are_down) else {
            return fail(format!("404: no blob {blob}"));
        };
        let length_bytes = length_bytes.unwrap_or(bytes.len());
        let range = |offset: usize| bytes.get(offset..offset + length_bytes).map(<[u8]>::to_vec);
        let Some(mut part) = range(offset_bytes as usize) else {
            return fail(format!("416: {length_bytes} bytes at {offset_bytes} of {}", bytes.len()));
        };
        let is_faulty =
            source == SOURCES[0] && (!self.is_fault_in_packs_only || self.packs.contains(blob));
        match fault.or(self.source_fault.filter(|_| is_faulty)) {
            Some(SourceFault::Missing) => return fail("404".into()),
            Some(SourceFault::Corrupt) => part[length_bytes / 2] ^= 1,
            Some(SourceFault::Short) => {
                return fail(format!("the body ended after {} bytes", length_bytes / 2));
            }
            Some(SourceFault::Long) => {
                let reason = format!("the body is longer than {length_bytes} bytes");
                return Err(LinkError::lie(source, reason));
            }
            Some(SourceFault::Elsewhere) => part = range(0).unwrap_or_default(),
            None => {}
        }
        Ok(part)
    }

    /// What the server said last of its standing.
    pub fn last_standing(&self) -> Option<&Standing> {
        self.statuses.last().map(|status| &status.standing)
    }

    /// The code of the last failure told.
    pub fn last_fault(&self) -> Option<&str> {
        self.statuses.iter().rev().find_map(|status| match &status.standing {
            Standing::Failed { fault } => Some(fault.code.as_str()),
            _ => None,
        })
    }
}

impl Default for Controller {
    fn default() -> Self {
        Self::new()
    }
}
