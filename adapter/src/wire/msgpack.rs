//! One msgpack value after the other, straight from the payload's bytes.

use rmp::Marker;

use super::DecodeError;

/// A value, or the head of an array or map whose items follow.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Token<'a> {
    Nil,
    /// What notepack 2.x writes for `undefined`: `d4 00 xx`.
    Undefined,
    Bool(bool),
    Unsigned(u64),
    /// Below zero.
    Negative(i64),
    Float(f64),
    /// Not checked to be UTF-8.
    Text(&'a [u8]),
    Binary(&'a [u8]),
    Array(usize),
    Map(usize),
    /// `fixed`: written with a marker that implies the length, which notepack tells apart.
    Extension {
        kind: i8,
        data: &'a [u8],
        fixed: bool,
    },
}

/// Reads tokens; what was read is gone.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What is not read yet, for a look ahead.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn remaining_bytes(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn next(&mut self) -> Result<Token<'a>, DecodeError> {
        let [marker] = self.array()?;
        Ok(match Marker::from_u8(marker) {
            Marker::Null => Token::Nil,
            Marker::True => Token::Bool(true),
            Marker::False => Token::Bool(false),
            Marker::FixPos(value) => Token::Unsigned(value.into()),
            Marker::FixNeg(value) => Token::Negative(value.into()),
            Marker::U8 | Marker::U16 | Marker::U32 | Marker::U64 => {
                Token::Unsigned(self.unsigned(marker - 0xcc)?)
            }
            Marker::I8 | Marker::I16 | Marker::I32 | Marker::I64 => self.signed(marker - 0xd0)?,
            Marker::F32 => Token::Float(f32::from_be_bytes(self.array()?).into()),
            Marker::F64 => Token::Float(f64::from_be_bytes(self.array()?)),
            Marker::FixStr(length) => Token::Text(self.take(length.into())?),
            Marker::Str8 | Marker::Str16 | Marker::Str32 => Token::Text(self.sized(marker - 0xd9)?),
            Marker::Bin8 | Marker::Bin16 | Marker::Bin32 => Token::Binary(self.sized(marker - 0xc4)?),
            Marker::FixArray(length) => self.items(length.into(), 1).map(Token::Array)?,
            Marker::Array16 | Marker::Array32 => {
                let length = self.length(marker - 0xdc + 1)?;
                self.items(length, 1).map(Token::Array)?
            }
            Marker::FixMap(length) => self.items(length.into(), 2).map(Token::Map)?,
            Marker::Map16 | Marker::Map32 => {
                let length = self.length(marker - 0xde + 1)?;
                self.items(length, 2).map(Token::Map)?
            }
            Marker::FixExt1 | Marker::FixExt2 | Marker::FixExt4 | Marker::FixExt8 | Marker::FixExt16 => {
                self.extension(1 << (marker - 0xd4), true)?
            }
            Marker::Ext8 | Marker::Ext16 | Marker::Ext32 => {
                let length = self.length(marker - 0xc7)?;
                self.extension(length, false)?
            }
            Marker::Reserved => return Err(DecodeError::ReservedByte),
        })
    }

    /// Whether the next value is `undefined`, which a map leaves out.
    pub(super) fn at_undefined(&self) -> bool {
        self.rest.starts_with(&[0xd4, 0x00])
    }

    /// Steps over the next value with all it holds, without recursion.
    pub(super) fn skip(&mut self) -> Result<(), DecodeError> {
        let mut open = 1_usize;
        while open > 0 {
            open -= 1;
            // Each announced item takes a byte that is there (see `items`), so this can't overflow.
            open += match self.next()? {
                Token::Array(length) => length,
                Token::Map(length) => 2 * length,
                _ => 0,
            };
        }
        Ok(())
    }

    fn take(&mut self, bytes: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(bytes).ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// A number of 1, 2, 4 or 8 bytes: 2 to the power of `width`.
    fn unsigned(&mut self, width: u8) -> Result<u64, DecodeError> {
        Ok(match width {
            0 => u8::from_be_bytes(self.array()?).into(),
            1 => u16::from_be_bytes(self.array()?).into(),
            2 => u32::from_be_bytes(self.array()?).into(),
            _ => u64::from_be_bytes(self.array()?),
        })
    }

    fn signed(&mut self, width: u8) -> Result<Token<'a>, DecodeError> {
        let value: i64 = match width {
            0 => i8::from_be_bytes(self.array()?).into(),
            1 => i16::from_be_bytes(self.array()?).into(),
            2 => i32::from_be_bytes(self.array()?).into(),
            _ => i64::from_be_bytes(self.array()?),
        };
        Ok(u64::try_from(value).map_or(Token::Negative(value), Token::Unsigned))
    }

    fn length(&mut self, width: u8) -> Result<usize, DecodeError> {
        usize::try_from(self.unsigned(width)?).map_err(|_| DecodeError::Truncated)
    }

    fn sized(&mut self, width: u8) -> Result<&'a [u8], DecodeError> {
        let length = self.length(width)?;
        self.take(length)
    }

    /// Refuses a number of items that the bytes left over can't hold, before anyone reserves room for them.
    fn items(&self, length: usize, values_per_item: usize) -> Result<usize, DecodeError> {
        if length > self.rest.len() / values_per_item {
            return Err(DecodeError::Truncated);
        }
        Ok(length)
    }

    fn extension(&mut self, length: usize, fixed: bool) -> Result<Token<'a>, DecodeError> {
        let kind = i8::from_be_bytes(self.array()?);
        let data = self.take(length)?;
        if fixed && kind == 0 && length == 1 {
            return Ok(Token::Undefined);
        }
        Ok(Token::Extension { kind, data, fixed })
    }
}
