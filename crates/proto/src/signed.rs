//! Statements with their signatures, kept as the exact bytes that were signed.
//!
//! A node passes on statements that others signed. If it encoded them again, a field that a newer
//! version added would be lost, and the signature would be invalid; so the bytes are kept and
//! forwarded unchanged.

use core::fmt;
use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

use crate::identity::{Identity, PeerId, Signature};

/// A body that is signed by a node that it names.
pub trait Statement: Encode<()> + for<'b> Decode<'b, ()> {
    /// Separates the kinds: a signature under one domain is invalid under another.
    const DOMAIN: &'static str;

    /// The node that must have signed it.
    fn signer(&self) -> PeerId;

    /// Checks what the encoding alone cannot express: lengths, counts, ranges.
    ///
    /// # Errors
    /// The rule that is broken.
    fn check(&self) -> Result<(), &'static str> {
        Ok(())
    }
}

/// A statement, the bytes it was signed as, and the signature.
///
/// A value of this type does not prove its signature; only a [`Verified`](crate::wire::Verified)
/// frame does.
///
/// A clone is another handle on the same bytes.
pub struct Signed<T>(Arc<Parts<T>>);

struct Parts<T> {
    body: T,
    /// `None` where nothing is signed, in large simulations: there are as many statements as links
    /// in a network, and their bytes and empty signatures would take most of the memory.
    seal: Option<Box<Seal>>,
}

/// The signed bytes, and the signature.
#[derive(PartialEq, Eq)]
struct Seal {
    bytes: Bytes,
    signature: Signature,
}

impl<T: Statement + PartialEq> PartialEq for Signed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.body == other.0.body
            && self.body_bytes() == other.body_bytes()
            && self.signature() == other.signature()
    }
}

impl<T: Statement + Eq> Eq for Signed<T> {}

impl<T> Clone for Signed<T> {
    fn clone(&self) -> Self {
        Signed(Arc::clone(&self.0))
    }
}

/// The signed form of a body: its BLAKE3 hash in the mode that separates domains (`derive_key`).
///
/// Ed25519 would otherwise run SHA-512 over the whole body, which for a batch of 64 KiB costs more
/// than the signature itself.
pub(crate) fn digest(domain: &str, body: &[u8]) -> [u8; 32] {
    blake3::derive_key(domain, body)
}

impl<T: Statement> Signed<T> {
    /// Signs a statement. `identity` must be the one the statement names.
    #[must_use]
    pub fn sign(body: T, identity: &Identity) -> Self {
        debug_assert_eq!(body.signer(), identity.id(), "a node signs only for itself");
        let seal = identity.signs().then(|| {
            let bytes = encoded(&body);
            let signature = identity.sign(&digest(T::DOMAIN, &bytes));
            Box::new(Seal { bytes: bytes.into(), signature })
        });
        Signed(Arc::new(Parts { body, seal }))
    }

    /// Reads the form that [`Signed::to_bytes`] writes, without checking the signature.
    ///
    /// # Errors
    /// The bytes are not one statement of this kind.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, decode::Error> {
        minicbor::decode(bytes)
    }

    /// The wire form: body and signature.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut v = Vec::with_capacity(self.wire_size());
        let _ = minicbor::encode(self, &mut v);
        v
    }

    /// Whether the node that the statement names signed these bytes.
    #[must_use]
    pub fn signature_is_valid(&self) -> bool {
        self.signature().verify(&self.0.body.signer(), &self.digest())
    }

    /// The hash that is signed.
    pub(crate) fn digest(&self) -> [u8; 32] {
        digest(T::DOMAIN, &self.body_bytes())
    }

    /// The encoded body as it was signed.
    pub fn body_bytes(&self) -> Cow<'_, [u8]> {
        match &self.0.seal {
            Some(seal) => Cow::Borrowed(&seal.bytes),
            None => Cow::Owned(encoded(&self.0.body)),
        }
    }
}

fn encoded<T: Statement>(body: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Encoding into a Vec has no failing path: its error type is Infallible.
    let _ = minicbor::encode(body, &mut bytes);
    bytes
}

impl<T> Signed<T> {
    /// The statement.
    pub fn body(&self) -> &T {
        &self.0.body
    }

    /// Approximate number of bytes in a frame.
    pub(crate) fn wire_size(&self) -> usize {
        self.0.seal.as_ref().map_or(size_of::<T>(), |s| s.bytes.len()) + 72
    }

    /// The signature.
    pub fn signature(&self) -> &Signature {
        self.0.seal.as_ref().map_or(&Signature::EMPTY, |s| &s.signature)
    }
}

impl<T> core::ops::Deref for Signed<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0.body
    }
}

impl<T: fmt::Debug> fmt::Debug for Signed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Signed").field(&self.0.body).finish()
    }
}

impl<C, T: Statement> Encode<C> for Signed<T> {
    fn encode<W: encode::Write>(
        &self,
        e: &mut Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        e.array(2)?.bytes(&self.body_bytes())?;
        self.signature().encode(e, ctx)
    }
}

impl<'b, C, T: Statement> Decode<'b, C> for Signed<T> {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, decode::Error> {
        if d.array()? != Some(2) {
            return Err(decode::Error::message("a signed statement is an array of two"));
        }
        let bytes = d.bytes()?;
        let signature = Signature::decode(d, ctx)?;
        let mut inner = Decoder::new(bytes);
        // "Unknown variant" makes the decoder of an optional field skip one value and continue, but
        // the statement has been read to its end already: it would skip the field behind it.
        let body = T::decode(&mut inner, &mut ()).map_err(decode::Error::message)?;
        if inner.position() != bytes.len() {
            return Err(decode::Error::message("bytes after the signed body"));
        }
        body.check().map_err(decode::Error::message)?;
        let bytes = Bytes::copy_from_slice(bytes);
        Ok(Signed(Arc::new(Parts { body, seal: Some(Box::new(Seal { bytes, signature })) })))
    }
}
