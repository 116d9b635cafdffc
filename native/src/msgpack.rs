//! MessagePack as msgspec writes and reads it: what crosses to Python, and what a checkpoint keeps of boards and serials.

/// Appends values to bytes.
#[derive(Default, Clone)]
pub struct Writer {
    pub bytes: Vec<u8>,
}

impl Writer {
    pub fn nil(&mut self) {
        self.bytes.push(0xc0);
    }

    pub fn bool(&mut self, value: bool) {
        self.bytes.push(if value { 0xc3 } else { 0xc2 });
    }

    pub fn int(&mut self, value: i64) {
        match value {
            0..=127 => self.bytes.push(value as u8),
            -32..=-1 => self.bytes.push(value as u8),
            128..=0xff => self.bytes.extend([0xcc, value as u8]),
            0x100..=0xffff => {
                self.bytes.push(0xcd);
                self.bytes.extend((value as u16).to_be_bytes());
            }
            0x1_0000..=0xffff_ffff => {
                self.bytes.push(0xce);
                self.bytes.extend((value as u32).to_be_bytes());
            }
            _ => {
                self.bytes.push(0xd3);
                self.bytes.extend(value.to_be_bytes());
            }
        }
    }

    pub fn str(&mut self, value: &str) {
        match value.len() {
            len @ 0..=31 => self.bytes.push(0xa0 | len as u8),
            len @ 32..=0xff => self.bytes.extend([0xd9, len as u8]),
            len @ 0x100..=0xffff => {
                self.bytes.push(0xda);
                self.bytes.extend((len as u16).to_be_bytes());
            }
            len => {
                self.bytes.push(0xdb);
                self.bytes.extend((len as u32).to_be_bytes());
            }
        }
        self.bytes.extend_from_slice(value.as_bytes());
    }

    pub fn optional_str(&mut self, value: Option<&str>) {
        match value {
            Some(text) => self.str(text),
            None => self.nil(),
        }
    }

    pub fn optional_int(&mut self, value: Option<i64>) {
        match value {
            Some(number) => self.int(number),
            None => self.nil(),
        }
    }

    pub fn bin(&mut self, value: &[u8]) {
        self.bytes.push(0xc6);
        self.bytes.extend((value.len() as u32).to_be_bytes());
        self.bytes.extend_from_slice(value);
    }

    pub fn array(&mut self, len: usize) {
        match len {
            0..=15 => self.bytes.push(0x90 | len as u8),
            16..=0xffff => {
                self.bytes.push(0xdc);
                self.bytes.extend((len as u16).to_be_bytes());
            }
            _ => {
                self.bytes.push(0xdd);
                self.bytes.extend((len as u32).to_be_bytes());
            }
        }
    }

    pub fn map(&mut self, len: usize) {
        match len {
            0..=15 => self.bytes.push(0x80 | len as u8),
            16..=0xffff => {
                self.bytes.push(0xde);
                self.bytes.extend((len as u16).to_be_bytes());
            }
            _ => {
                self.bytes.push(0xdf);
                self.bytes.extend((len as u32).to_be_bytes());
            }
        }
    }

    /// A time as msgspec writes an aware datetime: the timestamp extension, 64 bits (from 1970 to 2514).
    pub fn optional_time(&mut self, us: Option<i64>) {
        match us {
            Some(us) => self.time(us),
            None => self.nil(),
        }
    }

    fn time(&mut self, us: i64) {
        let (seconds, nanos) = (us.div_euclid(1_000_000) as u64, us.rem_euclid(1_000_000) as u64 * 1000);
        self.bytes.extend([0xd7, 0xff]);
        self.bytes.extend((nanos << 34 | seconds).to_be_bytes());
    }
}

/// Reads values; None for bytes that are something else.
pub struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { bytes }
    }

    /// The bytes that are not read yet.
    pub fn left(&self) -> &'a [u8] {
        self.bytes
    }

    /// Reads over any value.
    pub fn skip(&mut self) -> Option<()> {
        let mut values = 1usize;
        while values > 0 {
            values -= 1;
            let (within, after) = match self.byte()? {
                0x00..=0x7f | 0xc0 | 0xc2 | 0xc3 | 0xe0..=0xff => (0, 0),
                byte @ 0x80..=0x8f => (0, 2 * usize::from(byte & 15)),
                byte @ 0x90..=0x9f => (0, usize::from(byte & 15)),
                byte @ 0xa0..=0xbf => (usize::from(byte & 31), 0),
                0xc4 | 0xd9 => (self.number(1)? as usize, 0),
                0xc5 | 0xda => (self.number(2)? as usize, 0),
                0xc6 | 0xdb => (self.number(4)? as usize, 0),
                0xc7 => (self.number(1)? as usize + 1, 0),
                0xc8 => (self.number(2)? as usize + 1, 0),
                0xc9 => (self.number(4)? as usize + 1, 0),
                0xcc | 0xd0 => (1, 0),
                0xcd | 0xd1 => (2, 0),
                0xca | 0xce | 0xd2 => (4, 0),
                0xcb | 0xcf | 0xd3 => (8, 0),
                byte @ 0xd4..=0xd8 => ((1 << (byte - 0xd4)) + 1, 0),
                0xdc => (0, self.number(2)? as usize),
                0xdd => (0, self.number(4)? as usize),
                0xde => (0, 2 * self.number(2)? as usize),
                0xdf => (0, 2 * self.number(4)? as usize),
                _ => return None,
            };
            self.take(within)?;
            values = values.checked_add(after)?;
        }
        Some(())
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        if len > self.bytes.len() {
            return None;
        }
        let (taken, left) = self.bytes.split_at(len);
        self.bytes = left;
        Some(taken)
    }

    fn number(&mut self, len: usize) -> Option<u64> {
        Some(self.take(len)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn byte(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    /// Whether a nil comes, which is then read.
    pub fn nil(&mut self) -> bool {
        let is_nil = self.bytes.first() == Some(&0xc0);
        if is_nil {
            self.bytes = &self.bytes[1..];
        }
        is_nil
    }

    pub fn bool(&mut self) -> Option<bool> {
        match self.byte()? {
            0xc2 => Some(false),
            0xc3 => Some(true),
            _ => None,
        }
    }

    pub fn int(&mut self) -> Option<i64> {
        match self.byte()? {
            byte @ 0..=0x7f => Some(i64::from(byte)),
            byte @ 0xe0..=0xff => Some(i64::from(byte as i8)),
            0xcc => self.number(1).map(|n| n as i64),
            0xcd => self.number(2).map(|n| n as i64),
            0xce => self.number(4).map(|n| n as i64),
            0xcf => self.number(8).and_then(|n| i64::try_from(n).ok()),
            0xd0 => self.number(1).map(|n| i64::from(n as i8)),
            0xd1 => self.number(2).map(|n| i64::from(n as i16)),
            0xd2 => self.number(4).map(|n| i64::from(n as i32)),
            0xd3 => self.number(8).map(|n| n as i64),
            _ => None,
        }
    }

    pub fn optional_int(&mut self) -> Option<Option<i64>> {
        if self.nil() {
            return Some(None);
        }
        self.int().map(Some)
    }

    pub fn str(&mut self) -> Option<&'a str> {
        let len = match self.byte()? {
            byte @ 0xa0..=0xbf => usize::from(byte & 31),
            0xd9 => self.number(1)? as usize,
            0xda => self.number(2)? as usize,
            0xdb => self.number(4)? as usize,
            _ => return None,
        };
        std::str::from_utf8(self.take(len)?).ok()
    }

    pub fn optional_str(&mut self) -> Option<Option<&'a str>> {
        if self.nil() {
            return Some(None);
        }
        self.str().map(Some)
    }

    pub fn bin(&mut self) -> Option<&'a [u8]> {
        let len = match self.byte()? {
            0xc4 => self.number(1)? as usize,
            0xc5 => self.number(2)? as usize,
            0xc6 => self.number(4)? as usize,
            _ => return None,
        };
        self.take(len)
    }

    pub fn array(&mut self) -> Option<usize> {
        match self.byte()? {
            byte @ 0x90..=0x9f => Some(usize::from(byte & 15)),
            0xdc => self.number(2).map(|n| n as usize),
            0xdd => self.number(4).map(|n| n as usize),
            _ => None,
        }
    }

    pub fn map(&mut self) -> Option<usize> {
        match self.byte()? {
            byte @ 0x80..=0x8f => Some(usize::from(byte & 15)),
            0xde => self.number(2).map(|n| n as usize),
            0xdf => self.number(4).map(|n| n as usize),
            _ => None,
        }
    }

    /// A time written as the timestamp extension, in microseconds since 1970; nil is None.
    pub fn optional_time(&mut self) -> Option<Option<i64>> {
        if self.nil() {
            return Some(None);
        }
        let (seconds, nanos) = match (self.byte()?, self.byte()?) {
            (0xd6, 0xff) => (self.number(4)? as i64, 0),
            (0xd7, 0xff) => {
                let both = self.number(8)?;
                ((both & 0x3_ffff_ffff) as i64, (both >> 34) as i64)
            }
            (0xc7, 12) => {
                if self.byte()? != 0xff {
                    return None;
                }
                let nanos = self.number(4)? as i64;
                (self.number(8)? as i64, nanos)
            }
            _ => return None,
        };
        Some(Some(seconds.checked_mul(1_000_000)? + nanos / 1000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let numbers = [0, 1, 127, 128, 255, 256, 65_535, 65_536, 4_294_967_295, 4_294_967_296, i64::MAX, -1, -32, -33];
        let mut out = Writer::default();
        for number in numbers {
            out.int(number);
        }
        let long = "a".repeat(300);
        out.str("line-1");
        out.str(&long);
        out.optional_str(None);
        out.optional_time(Some(1_772_500_000_123_456));
        out.bool(true);
        let mut over = Reader::new(&out.bytes);
        for _ in 0..numbers.len() + 5 {
            over.skip().unwrap();
        }
        assert!(over.left().is_empty() && over.skip().is_none());
        let mut back = Reader::new(&out.bytes);
        for number in numbers {
            assert_eq!(back.int(), Some(number));
        }
        assert_eq!(back.str(), Some("line-1"));
        assert_eq!(back.str(), Some(long.as_str()));
        assert_eq!(back.optional_str(), Some(None));
        assert_eq!(back.optional_time(), Some(Some(1_772_500_000_123_456)));
        assert_eq!(back.bool(), Some(true));
        assert_eq!(back.bool(), None);
    }
}
