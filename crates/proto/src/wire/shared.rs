//! Lists that many frames share.

use std::sync::Arc;

use minicbor::decode::Error as DecodeError;
use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Decode, Decoder, Encode, Encoder};

/// Writes a list as an array.
pub(crate) fn encode<C, T: Encode<C>, W: Write>(
    list: &Arc<[T]>,
    e: &mut Encoder<W>,
    ctx: &mut C,
) -> Result<(), EncodeError<W::Error>> {
    e.array(list.len() as u64)?;
    list.iter().try_for_each(|item| item.encode(e, ctx))
}

/// Reads an array.
pub(crate) fn decode<'b, C, T: Decode<'b, C>>(
    d: &mut Decoder<'b>,
    ctx: &mut C,
) -> Result<Arc<[T]>, DecodeError> {
    Vec::<T>::decode(d, ctx).map(Arc::from)
}
